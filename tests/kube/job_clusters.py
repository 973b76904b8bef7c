"""The cluster in memory, whose work is done by Jobs; and pods that do what a worker does, in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from controller.clusters import Cluster
from kube.jobs_api import JobsApi
from pik.api.conditions import Reason
from pik.cluster.api import Object
from pik.cluster.jobs.children import Children
from pik.cluster.jobs.computations import JobComputations
from pik.cluster.jobs.runs import JobRuns
from pik.cluster.jobs.settings import JobSettings
from pik.cluster.jobs.task import AggregateTask, ReplayTask, decode_task
from pik.cluster.jobs.verdicts import ExitCode, Verdict
from pik.cluster.jobs.worker import answered
from pik.controller.reconcilers import reconcilers
from pik.controller.replay_runs import selector_of
from pik.execution.replay.marks import Marker
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.run import run_one
from pik.execution.replay.settings import ShardSettings
from pik.execution.replay.tools import Tools
from pik.execution.stream import Stream
from pik.planning.replay.records import ChunkHead, EndState

SETTINGS = JobSettings(image="pik:test", environment={"AWS_REGION": "eu-central-1"})


class CountingMarker(Marker):
    count = 0

    def checkpoint(self, head: ChunkHead) -> None:
        super().checkpoint(head)
        self.count += 1


class JobCluster(Cluster):
    """`api`: the Jobs, their pods and events."""

    def __init__(self, directory: Path, settings: JobSettings = SETTINGS) -> None:
        self.settings = settings
        super().__init__(directory)

    def start(self) -> None:
        super().start()
        self.api = getattr(self, "api", None) or JobsApi(self.clock)
        children = Children(self.api, self.settings.ttl)
        self.world = replace(
            self.world,
            runs=JobRuns(children, self.settings, self.clock),
            computations=JobComputations(children, self.settings, self.clock),
        )
        self.manager.reconcilers = reconcilers(self.world)

    def task(self, job: Object) -> ReplayTask | AggregateTask:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        values = {each["name"]: each["value"] for each in container["env"]}
        return decode_task(values["PIK_TASK"])

    def stream(self, job: Object) -> Stream:
        found = self.workshop.stream_of(self.task(job).stream.stream_id)
        assert found is not None
        return found

    async def shard(self, job: Object, index: int, *, chunks: int | None = None) -> ExitCode:
        """A pod does this shard, and is told to stop after so many chunks."""
        task, stream = self.task(job), self.stream(job)
        assert isinstance(task, ReplayTask)
        marker = CountingMarker(stream, task.run_id, index)

        def halted() -> bool:
            return chunks is not None and marker.count >= chunks

        sink = self.cloud.sink(None)  # type: ignore[arg-type]
        tools = Tools(
            selector=selector_of(stream, None),
            sink=sink,
            dead_letter=None,
            pacer=Pacer(self.clock, task.pace),
            holder=f"pod-{index}",
            halted=halted,
            observer=marker,
            settings=ShardSettings(chunk_events=1, first_chunk=1, attempts=2),
        )
        end = await run_one(stream, task.run_id, index, tools)
        await marker.leave_last(end)
        if end is None:
            return ExitCode.HALTED
        return ExitCode.DONE if end.state is EndState.SUCCEEDED else ExitCode.FAILED

    async def aggregate(self, job: Object) -> Verdict:
        """A pod computes."""
        task = self.task(job)
        assert isinstance(task, AggregateTask)
        return await answered(task, self.stream(job))

    async def run_shards(self) -> None:
        """The only Job's pods do all of it, and its controller says so."""
        job = self.api.job()
        for index in range(job["spec"]["completions"]):
            assert await self.shard(job, index) is ExitCode.DONE
        self.api.ended(job, "Complete", succeeded=job["spec"]["completions"])


def said(code: ExitCode, reason: Reason, message: str) -> str:
    """A termination message."""
    return msgspec.json.encode(Verdict(code, reason, message)).decode()
