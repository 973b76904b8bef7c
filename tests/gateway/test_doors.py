"""Which streams a gateway has open: what the operator's statuses say, in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.clusters import Cluster
from controller.manifests import event
from pik.api.capture_stream import CaptureStream
from pik.cluster.api import Object
from pik.cluster.doors import DoorKeeper, DoorState, wanted
from pik.controller.objects import ObjectKey
from pik.controller.workshop import Workshop
from pik.domain.errors import NotReady, OwnershipConflict, Unavailable
from pik.execution.capture.settings import CaptureSettings
from pik.execution.ownership import OwnerRecord
from pik.execution.retrying import Patience
from pik.gateway.doors import Door
from pik.memory.system import InlineOffload
from pik.ports.objects import StoredObject

KEY = ObjectKey("CaptureStream", "default", "things")
STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {name: things}
spec:
  storage: {prefix: some}
  suspend: %s
  ingest: {gateway: %s}
"""


class Scene:
    """A cluster in memory, whose operator has provisioned; and a gateway that is told of its objects."""

    def __init__(self, cluster: Cluster, cache: Path) -> None:
        self.cluster = cluster
        self.forgotten: list[ObjectKey] = []
        self.workshop = Workshop(
            cluster.cloud,
            clock=cluster.clock,
            entropy=cluster.entropy,
            offload=InlineOffload(),
            cache=cache / "gateway",
            wake=lambda _: None,
            settings=CaptureSettings(patience=Patience(2, 0.01, 0.01)),
        )
        self.synced = True
        self.keeper = DoorKeeper(
            self.workshop,
            cluster.cloud,
            cluster.name,
            clock=cluster.clock,
            entropy=cluster.entropy,
            forgotten=self.forgotten.append,
        )
        self.keeper.synced_by(lambda: self.synced)

    async def apply(self, *, suspend: str = "false", gateway: str = "Enabled") -> None:
        self.cluster.apply(STREAM % (suspend, gateway))
        await self.cluster.settle()
        await self.tell()

    def manifest(self) -> Object:
        found = self.cluster.objects.find(KEY)
        assert found is not None
        return {
            "metadata": found.metadata.model_dump(exclude_none=True, mode="json"),
            "spec": found.spec.to_manifest(),
            "status": found.status.to_manifest(),
        }

    async def tell(self, manifest: Object | None = None) -> None:
        self.keeper.seen(manifest or self.manifest())
        await self.settle()

    async def settle(self) -> None:
        while self.keeper._queue.has_due():
            key = await self.keeper._queue.take()
            await self.keeper._look(key)
            self.keeper._queue.done(key)

    def door(self) -> Door | None:
        return self.workshop.door("default", "things")

    def state(self) -> dict[DoorState, int]:
        return dict(self.keeper.states())

    def place(self, record: OwnerRecord) -> None:
        """Writes the owner record, as somebody else would."""
        self.put(msgspec.json.encode(record))

    def put(self, body: bytes) -> None:
        objects = self._objects()
        objects["some/owner.json"] = msgspec.structs.replace(objects["some/owner.json"], body=body)

    def owner(self) -> OwnerRecord:
        return msgspec.json.decode(self._objects()["some/owner.json"].body, type=OwnerRecord)

    def _objects(self) -> dict[str, StoredObject]:
        [bucket] = self.cluster.account.buckets
        return self.cluster.account.bucket(bucket).objects


@pytest.fixture
async def scene(cluster: Cluster, tmp_path: Path) -> Scene:
    return Scene(cluster, tmp_path)


async def test_a_stream_is_open_where_its_status_says(scene: Scene) -> None:
    await scene.apply()
    door = scene.door()
    assert door is not None
    [answer] = await door.capture.ingest([event(1)])
    assert answer.status == "ACCEPTED"
    opened = scene.workshop.find(KEY)
    assert opened is not None
    assert opened.place.epoch == 1
    assert scene.state() == {DoorState.OPEN: 1}


async def test_two_writers_know_of_each_others_events(scene: Scene) -> None:
    await scene.apply()
    assert await scene.cluster.ingest(KEY, [event(1)]) == ["ACCEPTED"]
    door = scene.door()
    assert door is not None
    answers = await door.capture.ingest([event(1), event(1, amount="2"), event(2)])
    assert [answer.status for answer in answers] == ["DUPLICATE", "CONFLICT", "ACCEPTED"]


async def test_before_it_is_provisioned_it_answers_later(scene: Scene) -> None:
    scene.cluster.apply(STREAM % ("false", "Enabled"))
    await scene.tell()
    with pytest.raises(NotReady):
        scene.door()
    assert scene.state() == {DoorState.NOT_READY: 1}


async def test_before_streams_are_listed_none_is_said_not_to_be_there(scene: Scene) -> None:
    scene.synced = False
    with pytest.raises(NotReady):
        scene.door()
    assert scene.keeper.faults()
    scene.synced = True
    assert scene.door() is None
    assert not scene.keeper.faults()


async def test_a_stream_that_was_listed_and_not_looked_at_yet_is_not_unknown(scene: Scene) -> None:
    await scene.apply()
    await scene.workshop.close(KEY)
    other = Scene(scene.cluster, scene.cluster.cache)
    other.keeper.listed(None, [scene.manifest()])
    with pytest.raises(NotReady):
        other.door()
    assert other.keeper.faults() == ["1 streams have not been looked at yet"]
    await other.settle()
    assert not other.keeper.faults()
    assert other.door() is not None


async def test_suspend_and_disable_and_back(scene: Scene) -> None:
    await scene.apply()
    await scene.apply(suspend="true")
    with pytest.raises(NotReady):
        scene.door()
    await scene.apply(gateway="Disabled")
    assert scene.door() is None
    # it is read all the same: a replay of it into another stream has to be told apart
    opened = scene.workshop.find(KEY)
    assert opened is not None
    assert scene.workshop.stream_of(opened.place.stream_id) is opened.stream
    await scene.apply()
    assert scene.door() is not None


async def test_a_stream_that_begins_suspended_is_opened_as_its_owner_later(scene: Scene) -> None:
    await scene.apply()
    await scene.workshop.close(KEY)
    await scene.apply(suspend="true")
    opened = scene.workshop.find(KEY)
    assert opened is not None
    assert opened.place.epoch is None
    await scene.apply()
    opened = scene.workshop.find(KEY)
    assert opened is not None
    assert opened.place.epoch == 1


async def test_what_is_gone_is_closed_and_unknown(scene: Scene) -> None:
    await scene.apply()
    manifest = scene.manifest()
    scene.keeper.gone(manifest)
    await scene.settle()
    assert scene.door() is None
    assert scene.forgotten == [KEY]
    scene.keeper.seen(manifest)
    scene.keeper.listed("elsewhere", [])
    await scene.settle()
    assert scene.door() is not None
    scene.keeper.listed("default", [])
    await scene.settle()
    assert scene.door() is None


async def test_what_is_being_deleted_takes_nothing_more(scene: Scene) -> None:
    await scene.apply()
    manifest = scene.manifest()
    manifest["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    await scene.tell(manifest)
    with pytest.raises(NotReady):
        scene.door()


async def test_statuses_that_only_count_open_nothing_anew(scene: Scene) -> None:
    await scene.apply()
    opened = scene.workshop.find(KEY)
    reads = scene.cluster.cloud.calls["objects.read"]
    manifest = scene.manifest()
    manifest["status"]["counters"] = {"events": 7}
    await scene.tell(manifest)
    assert scene.workshop.find(KEY) is opened
    assert scene.cluster.cloud.calls["objects.read"] == reads


async def test_other_settings_are_another_writer(scene: Scene) -> None:
    await scene.apply()
    opened = scene.workshop.find(KEY)
    manifest = scene.manifest()
    manifest["spec"]["storage"]["retentionDays"] = 30
    await scene.tell(manifest)
    now = scene.workshop.find(KEY)
    assert now is not None
    assert now is not opened
    assert now.stream.retention_days == 30


@pytest.mark.parametrize(
    "change",
    [{"cluster": "there"}, {"name": "others"}, {"stream_id": "0" * 32}],
    ids=lambda change: next(iter(change)),
)
async def test_a_place_that_is_anothers_is_not_written_to(scene: Scene, change: dict[str, Any]) -> None:
    await scene.apply()
    await scene.workshop.close(KEY)
    scene.place(msgspec.structs.replace(scene.owner(), **change))
    await scene.tell()
    with pytest.raises(NotReady):
        scene.door()
    assert scene.workshop.find(KEY) is None


async def test_a_status_that_names_another_owner_is_not_believed(scene: Scene) -> None:
    await scene.apply()
    await scene.workshop.close(KEY)
    manifest = scene.manifest()
    manifest["status"]["storage"]["owner"] = "there/default/things"
    await scene.tell(manifest)
    with pytest.raises(NotReady):
        scene.door()


async def test_a_stream_that_was_taken_over_and_taken_back_is_written_to_again(scene: Scene) -> None:
    await scene.apply()
    record = scene.owner()
    scene.place(msgspec.structs.replace(record, cluster="there", epoch=2))
    door = scene.door()
    assert door is not None
    with pytest.raises(OwnershipConflict):
        await door.capture.ingest([event(1)])
    scene.keeper.doubt(KEY)
    scene.keeper.doubt(KEY)
    scene.cluster.clock.advance(3)
    await scene.settle()
    with pytest.raises(NotReady):
        scene.door()
    scene.place(msgspec.structs.replace(record, epoch=3))
    scene.cluster.clock.advance(61)
    await scene.settle()
    door = scene.door()
    assert door is not None
    answers = await door.capture.ingest([event(1), event(2)])  # the first had landed, unanswered
    assert [answer.status for answer in answers] == ["DUPLICATE", "ACCEPTED"]


async def test_what_lies_in_a_bucket_keeps_only_its_own_stream_shut(scene: Scene) -> None:
    await scene.apply()
    await scene.workshop.close(KEY)
    record = scene.owner()
    scene.put(b"[]")
    await scene.tell()
    with pytest.raises(NotReady):
        scene.door()
    scene.place(record)
    scene.cluster.clock.advance(61)
    await scene.settle()
    assert scene.door() is not None


async def test_while_aws_is_away_what_is_open_stays_open_and_the_rest_is_tried_again(scene: Scene) -> None:
    await scene.apply()
    scene.cluster.cloud.fault = lambda _: Unavailable("away")
    await scene.tell()
    assert scene.door() is not None
    await scene.workshop.close(KEY)
    await scene.tell()
    with pytest.raises(NotReady):
        scene.door()
    scene.cluster.cloud.fault = lambda _: None
    scene.cluster.clock.advance(2)
    await scene.settle()
    assert scene.door() is not None


@pytest.mark.parametrize(("reason", "taken"), [("DataLost", False), ("DriftReported", True)])
async def test_what_stalls_a_stream_closes_it_only_where_its_place_is_lost(
    scene: Scene, reason: str, taken: bool
) -> None:
    await scene.apply()
    manifest = scene.manifest()
    manifest["status"]["conditions"].append(
        {
            "type": "Stalled",
            "status": "True",
            "reason": reason,
            "message": "",
            "lastTransitionTime": "2026-03-01T12:00:00Z",
        }
    )
    assert (wanted(CaptureStream.from_manifest(manifest)).place is not None) == taken
    await scene.tell(manifest)
    assert (scene.workshop.find(KEY) is not None) == taken


async def test_an_object_that_is_not_understood_is_not_unknown(scene: Scene) -> None:
    await scene.apply()
    manifest = scene.manifest()
    manifest["spec"]["storage"]["retentionDays"] = "for ever"
    await scene.tell(manifest)
    with pytest.raises(NotReady):
        scene.door()


async def test_it_works_until_cancelled(scene: Scene) -> None:
    await scene.apply()
    await scene.workshop.close(KEY)
    working = asyncio.create_task(scene.keeper.run())
    scene.keeper.seen(scene.manifest())
    async with asyncio.timeout(30):
        while scene.workshop.find(KEY) is None:  # noqa: ASYNC110 - in memory, it takes a few turns
            await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
