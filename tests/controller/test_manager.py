"""What one object does to itself, the others do not feel: in a pass, and at the start."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from controller.clusters import Cluster
from controller.manifests import JOB, STREAM
from pik.api.capture_stream import CaptureStream
from pik.api.conditions import Reason
from pik.api.kinds import AnyResource
from pik.api.replay_job import ReplayJob
from pik.controller.manager import Reconcilers
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Done, Pass
from pik.domain.errors import KubernetesRefused

OTHER = STREAM.replace("name: things", "name: other").replace("some", "else")


async def taken_up(cluster: Cluster) -> list[str]:
    """The names of what passes were over, in their order, when a process has begun."""
    cluster.start()
    for key in cluster.objects.keys():  # noqa: SIM118 - no mapping
        cluster.queue.forget(key)
    passes: list[str] = []

    async def work(resource: AnyResource) -> Pass:
        await asyncio.sleep(0)
        passes.append(resource.metadata.name)
        stream = isinstance(resource, CaptureStream)
        return Pass(resource.status, Done(Reason.PROVISIONED if stream else Reason.SUCCEEDED))

    async def forget(_: ObjectKey) -> None: ...

    cluster.manager.reconcilers = Reconcilers(work, lambda _: True, work, forget)
    working = asyncio.create_task(cluster.manager.run(2))
    async with asyncio.timeout(2):
        await cluster.manager.take_up(CaptureStream.KIND)
    working.cancel()
    await cluster.settle()
    return passes


async def test_streams_are_taken_up_before_what_refers_to_them(cluster: Cluster) -> None:
    for text in (JOB, STREAM, OTHER):
        cluster.apply(text)
    assert await taken_up(cluster) == ["other", "things", "again"]


async def test_a_stream_that_may_not_be_held_holds_nothing_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its finalizer is refused by somebody's admission policy, each time."""
    for text in (JOB, STREAM, OTHER):
        cluster.apply(text)

    async def hold(resource: AnyResource, *, held: bool) -> bool:
        if resource.metadata.name == "other":
            raise KubernetesRefused("the policy denies it")
        return True

    monkeypatch.setattr(cluster.objects, "hold", hold)
    assert await taken_up(cluster) == ["things", "again"]


async def test_a_stream_that_somebody_else_keeps_from_going_holds_nothing_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in (JOB, STREAM, OTHER):
        cluster.apply(text)
    cluster.delete(ObjectKey(CaptureStream.KIND, "default", "other"))

    async def finalized(_: AnyResource) -> bool:
        return True  # and yet the object is there

    monkeypatch.setattr(cluster.objects, "finalized", finalized)
    assert await taken_up(cluster) == ["other", "things", "again"]


async def test_an_object_that_cannot_be_settled_is_told_and_tried_and_alone(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    whole = cluster.manager.reconcilers

    async def reconcile(resource: AnyResource) -> Pass:
        if isinstance(resource, ReplayJob):
            return Pass(resource.status, Done(Reason.DATA_LOST))  # of another kind
        return await whole.reconcile(resource)

    cluster.manager.reconcilers = replace(whole, reconcile=reconcile)
    job, things = cluster.apply(JOB), cluster.apply(STREAM)
    await cluster.settle()
    assert cluster.condition(job, "Reconciling") == ("True", "InternalError")
    assert cluster.condition(things, "Ready") == ("True", "Provisioned")
    assert "a pass over ReplayJob default/again failed" in caplog.text
    waits = []
    for _ in range(4):  # ever more seldom
        seen, seconds = caplog.text.count("a pass over"), 0
        while caplog.text.count("a pass over") == seen:
            await cluster.advance(1)
            seconds += 1
        waits.append(seconds)
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]
    cluster.manager.reconcilers = whole
    await cluster.advance(60)
    assert cluster.condition(job, "Complete") == ("False", "Planned")
