"""A run happens once, whatever becomes of its object, its operator or its cluster (law 6): by the queue's own
messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pik.cluster.api import Object
from pik.cluster.errors import KubeNotFound
from running.process import OperatorProcess
from running.scene import Ground, Scene, scene, until
from running.specs import job_spec, stream_spec

COUNT = 30


@dataclass
class Done:
    """A run that has ended: its events were received once."""

    scene: Scene
    operator: OperatorProcess
    queue: str
    run: str

    async def again(self) -> Object:
        """The job as it comes to its end once more."""
        there = await self.scene.until_true("ReplayJob", "job", "Complete")
        assert there["status"]["run"]["id"] == self.run
        assert there["status"]["progress"]["sent"] == COUNT
        return there

    async def gone(self) -> None:
        async def holds() -> bool:
            try:
                await self.scene.get("ReplayJob", "job")
            except KubeNotFound:
                return True
            return False

        await until("the job is gone", holds)


@pytest.fixture
async def done(ground: Ground, unique: str, tmp_path: Path) -> AsyncIterator[Done]:
    async with scene(ground, unique[:30], tmp_path, "--executor", "InProcess") as made:
        operator = made.operator()
        await operator.start()
        await made.create("CaptureStream", "things", stream_spec("things"))
        await made.ingest("things", COUNT)
        queue = made.queue("sent")
        await made.create("ReplayJob", "job", job_spec("things", queue))
        there = await made.until_true("ReplayJob", "job", "Complete")
        assert len({key for _, key in made.received(queue)}) == COUNT
        yield Done(made, operator, queue, there["status"]["run"]["id"])
        assert made.received(queue) == [], "it was sent again"


async def test_deleted_by_its_ttl_and_applied_again(done: Done) -> None:
    await done.scene.merge("ReplayJob", "job", {"spec": {"ttlSecondsAfterFinished": 0}})
    await done.gone()
    await done.scene.create("ReplayJob", "job", job_spec("things", done.queue))
    await done.again()


async def test_restored_without_status(done: Done) -> None:
    there = await done.scene.get("ReplayJob", "job")
    await done.scene.remove("ReplayJob", "job")
    await done.scene.create(
        "ReplayJob", "job", there["spec"], annotations=there["metadata"].get("annotations", {})
    )
    await done.again()


async def test_created_again_by_force_while_the_operator_is_away(done: Done) -> None:
    await done.operator.kill()
    await done.scene.remove("ReplayJob", "job")
    await done.scene.create("ReplayJob", "job", job_spec("things", done.queue))
    await done.operator.start()
    await done.again()


async def test_the_operator_is_installed_anew(done: Done) -> None:
    assert await done.operator.stop() == 0
    await done.scene.api.delete(
        f"/apis/coordination.k8s.io/v1/namespaces/{done.scene.namespace}/leases/pik-operator"
    )
    await done.scene.operator("another").start()
    await done.scene.merge("ReplayJob", "job", {"metadata": {"labels": {"seen": "again"}}})
    await done.again()


async def test_the_cluster_is_rebuilt_on_the_same_bucket(done: Done) -> None:
    """All objects are gone, and come back from Git: stream and job, with no status."""
    await done.operator.kill()
    await done.scene.remove("ReplayJob", "job")
    await done.scene.remove("CaptureStream", "things")
    await done.scene.operator("rebuilt").start()
    await done.scene.create("ReplayJob", "job", job_spec("things", done.queue))
    await done.scene.create("CaptureStream", "things", stream_spec("things"))
    await done.again()


async def test_another_run_key_is_another_run(done: Done) -> None:
    await done.scene.merge("ReplayJob", "job", {"spec": {"runKey": "2"}})

    async def ran() -> bool:
        status = (await done.scene.get("ReplayJob", "job"))["status"]
        return status.get("run", {}).get("id") not in (None, done.run) and "completionTime" in status["run"]

    await until("the second run is done", ran)
    assert len({key for _, key in done.scene.received(done.queue)}) == COUNT
