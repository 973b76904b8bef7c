"""The cache and the writes of a pass: nothing older covers anything newer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from controller.manifests import JOB, STREAM
from kube.fake_api import FakeApi
from pik.api.conditions import Reason
from pik.api.kinds import AnyResource
from pik.api.manifests import load_text
from pik.cluster.errors import KubeUnavailable
from pik.cluster.events import EventRecorder
from pik.cluster.objects import FINALIZER, ClusterObjects
from pik.cluster.paths import object_at
from pik.controller.manager import Manager, Reconcilers
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Done, Pass
from pik.controller.queue import WorkQueue
from pik.domain.instants import parse_instant
from pik.memory.system import ManualClock, SeededEntropy

KEY = ObjectKey("CaptureStream", "default", "things")


class World:
    def __init__(self) -> None:
        self.api = FakeApi()
        self.changed: list[ObjectKey] = []
        self.objects = self.watched(self.changed.append)

    def watched(self, changed: Callable[[ObjectKey], None]) -> ClusterObjects:
        recorder = EventRecorder(
            self.api, ManualClock(parse_instant("2026-03-01T12:00:00Z")), SeededEntropy(1), "me"
        )
        return ClusterObjects(self.api, recorder, changed=changed)

    def apply(self, text: str = STREAM, **meta: Any) -> dict[str, Any]:
        """As somebody else does it: the watch has not told of it yet."""
        (manifest,) = load_text(text)
        value = manifest.value
        meta = {"namespace": "default", "generation": 1, **value["metadata"], **meta}
        key = ObjectKey(value["kind"], meta["namespace"], meta["name"])
        there = self.api.objects.get(object_at(key), {})
        return self.api.put(object_at(key), {**value, "status": there.get("status", {}), "metadata": meta})

    def stored(self) -> dict[str, Any]:
        return self.api.objects[object_at(KEY)]


async def test_only_what_has_to_be_looked_at_wakes() -> None:
    world = World()
    world.objects.seen(world.apply())
    assert world.changed == [KEY]
    resource = world.objects.find(KEY)
    assert resource is not None
    status = resource.status.model_copy(update={"streamID": "a" * 32})
    await world.objects.write_status(resource, status)
    world.objects.seen(world.stored())
    assert world.changed == [KEY], "its own status woke it"
    assert world.objects.find(KEY).status.streamID == "a" * 32  # type: ignore[union-attr]
    world.objects.seen(world.apply(generation=2))
    world.objects.seen(world.apply(generation=2, labels={"team": "a"}))
    world.objects.seen(
        world.apply(generation=2, labels={"team": "a"}, deletionTimestamp="2026-03-01T12:00:00Z")
    )
    assert world.changed == [KEY] * 4


async def test_an_older_state_that_comes_late_changes_nothing() -> None:
    world = World()
    old, new = world.apply(), world.apply(generation=2)
    world.objects.seen(new)
    world.objects.seen(old)
    assert world.objects.generation(KEY) == 2
    assert world.changed == [KEY]


async def test_the_deletion_of_an_older_object_of_the_same_name_is_not_that_of_the_newer() -> None:
    world = World()
    old = world.apply(uid="one")
    world.objects.seen(old)
    world.objects.seen(world.apply(uid="two"))
    world.objects.gone(old)
    assert world.objects.uid(KEY) == "two"
    world.objects.gone(world.stored())
    assert world.objects.find(KEY) is None


async def test_a_status_is_written_once_more_where_only_something_else_has_changed() -> None:
    world = World()
    world.objects.seen(world.apply())
    resource = world.objects.find(KEY)
    assert resource is not None
    world.apply(labels={"team": "a"})
    await world.objects.write_status(resource, resource.status.model_copy(update={"streamID": "a" * 32}))
    assert world.stored()["status"]["streamID"] == "a" * 32
    assert world.stored()["metadata"]["labels"] == {"team": "a"}


async def test_a_stale_pass_does_not_cover_the_status_of_another() -> None:
    world = World()
    world.objects.seen(world.apply())
    resource = world.objects.find(KEY)
    assert resource is not None
    await world.objects.write_status(resource, resource.status.model_copy(update={"streamID": "b" * 32}))
    world.changed.clear()
    await world.objects.write_status(resource, resource.status.model_copy(update={"streamID": "a" * 32}))
    assert world.stored()["status"]["streamID"] == "b" * 32
    assert world.changed == [KEY], "it has to be looked at anew"


async def test_a_status_of_an_object_that_is_gone_or_another_is_dropped() -> None:
    world = World()
    world.objects.seen(world.apply(uid="one"))
    resource = world.objects.find(KEY)
    assert resource is not None
    status = resource.status.model_copy(update={"streamID": "a" * 32})
    world.apply(uid="two")
    await world.objects.write_status(resource, status)
    assert "streamID" not in world.stored()["status"]
    del world.api.objects[object_at(KEY)]
    await world.objects.write_status(resource, status)


async def test_nothing_is_written_where_nothing_differs_and_errors_come_through() -> None:
    world = World()
    world.objects.seen(world.apply())
    resource = world.objects.find(KEY)
    assert resource is not None
    await world.objects.write_status(resource, resource.status)
    assert not world.api.calls
    world.api.fault = lambda _: KubeUnavailable("away")
    with pytest.raises(KubeUnavailable):
        await world.objects.write_status(resource, resource.status.model_copy(update={"streamID": "a" * 32}))


async def test_a_finalizer_is_put_taken_and_leaves_others_alone() -> None:
    world = World()
    world.objects.seen(world.apply(finalizers=["others.dev/x"]))
    resource = world.objects.find(KEY)
    assert resource is not None
    assert await world.objects.hold(resource, held=False)
    assert not await world.objects.hold(resource, held=True)
    assert world.stored()["metadata"]["finalizers"] == ["others.dev/x", FINALIZER]
    world.objects.seen(world.stored())
    held = world.objects.find(KEY)
    assert held is not None
    assert await world.objects.hold(held, held=True)
    assert await world.objects.finalized(held)
    assert world.stored()["metadata"]["finalizers"] == ["others.dev/x"]


async def test_what_is_changed_while_it_is_finalized_is_finalized_again() -> None:
    """As by the annotation that lets a deletion go at once, while the deletion is at it."""
    world = World()
    deleted = {"finalizers": [FINALIZER], "deletionTimestamp": "2026-03-01T12:00:00Z"}
    seen: list[Mapping[str, str]] = []

    async def finalize(resource: AnyResource) -> Pass:
        seen.append(resource.metadata.annotations)
        if len(seen) == 1:
            objects.seen(world.apply(**deleted, annotations={"some": "thing"}))
        return Pass(resource.status, Done(Reason.PROVISIONED))

    async def reconcile(resource: AnyResource) -> Pass:
        raise AssertionError("it is being deleted")

    async def forget(_: ObjectKey) -> None:
        assert world.stored()["metadata"]["finalizers"] == []

    clock, entropy = ManualClock(parse_instant("2026-03-01T12:00:00Z")), SeededEntropy(1)
    queue = WorkQueue(clock)
    reconcilers = Reconcilers(reconcile, lambda _: True, finalize, forget)
    objects = world.watched(lambda key: manager.changed(key))
    manager = Manager(objects, objects, reconcilers, queue, clock, entropy)
    objects.seen(world.apply(**deleted))
    while queue.has_due():
        key = await queue.take()
        await manager.one(key)
        queue.done(key)
    assert seen == [{}, {"some": "thing"}]
    assert world.stored()["metadata"]["finalizers"] == []


async def test_an_object_of_a_schema_that_is_not_understood_is_left_alone() -> None:
    world = World()
    given = world.apply(JOB)
    given["spec"]["mode"] = "Sideways"
    world.objects.seen(given)
    assert world.objects.find(ObjectKey("ReplayJob", "default", "again")) is None
