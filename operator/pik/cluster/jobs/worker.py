"""What a pod does: one shard of a replay, or one aggregate, by the same code as local mode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

from pik.api.aggregate_version import AggregateVersion
from pik.api.conditions import Reason
from pik.api.replay_job import ReplayJob
from pik.api.storage import Storage
from pik.api.targets import TargetType
from pik.aws.clients import AssumedRole, AwsAccess
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.cluster.jobs.secrets import authenticated_by
from pik.cluster.jobs.task import AggregateTask, ReplayTask, Task
from pik.cluster.jobs.verdicts import ExitCode, Verdict
from pik.controller.athena import queries_of
from pik.controller.aws_cloud import AwsCloud
from pik.controller.engines import compute, selector_of
from pik.controller.faults import outcome_of
from pik.controller.outcome import Stalled
from pik.domain.errors import Incomparable, Incomplete, NoSuchObject, OutOfMemory, OwnershipConflict, PikError
from pik.domain.instants import parse_instant
from pik.execution.aggregate.answers import (
    Asking,
    find_answer,
    find_difference,
    keep_answer,
    keep_difference,
    read_definition,
)
from pik.execution.aggregate.athena import Athena
from pik.execution.aggregate.comparing import compare
from pik.execution.aggregate.records import Answer, check_comparable, read_answer
from pik.execution.opening import open_stream
from pik.execution.replay.marks import Marker
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.run import run_one
from pik.execution.replay.runs import planned
from pik.execution.replay.tools import Tools
from pik.execution.stream import Stream
from pik.execution.stream_task import StreamTask
from pik.planning.replay.addresses import ForbiddenNetwork, ForbiddenNetworks
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import End, EndState
from pik.planning.replay.spec import TargetAddress
from pik.ports.sinks import Sink

log = logging.getLogger(__name__)

T = TypeVar("T")

_CPU = 2  # threads for Parquet and DuckDB, which has its own besides


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`shard`: the pod's completion index. `holder`: the pod's name, in records. `scratch`: a directory to
    write in. `secrets`: where the target's Secret is mounted, if it has one."""

    access: AwsAccess
    shard: int | None
    holder: str
    scratch: Path
    secrets: Path


async def work(task: Task, around: Surroundings, halting: asyncio.Event) -> Verdict:
    """Does what the task says: a shard until its next checkpoint once `halting` is set, anything else to its
    end. Raises what nobody foresaw."""
    try:
        if isinstance(task, AggregateTask):
            with _machine(around) as machine:
                return await answered(task, machine.open(task.stream), machine.athena(task))
        if around.shard is None:
            return Verdict(ExitCode.MISCONFIGURED, Reason.INTERNAL_ERROR, "the pod has no completion index")
        return await _shard(task, around.shard, around, halting)
    except PikError as error:
        return _verdict(task, error)


def _verdict(task: Task, error: PikError) -> Verdict:
    if isinstance(error, OutOfMemory):
        return Verdict(ExitCode.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY, str(error))
    kind = ReplayJob.KIND if isinstance(task, ReplayTask) else AggregateVersion.KIND
    outcome = outcome_of(error, kind)
    if isinstance(error, OwnershipConflict):
        # whoever works for the owner of today has another task
        return Verdict(ExitCode.MISCONFIGURED, Reason.STREAM_NOT_READY, str(error))
    code = ExitCode.MISCONFIGURED if isinstance(outcome, Stalled) else ExitCode.AGAIN
    return Verdict(code, outcome.reason, outcome.message)


# a shard


async def _shard(task: ReplayTask, shard: int, around: Surroundings, halting: asyncio.Event) -> Verdict:
    networks = [ForbiddenNetwork(ip_network(each.network), each.why) for each in task.networks]
    with _machine(around, loopback=task.loopback, networks=networks) as machine:
        stream = machine.open(task.stream)
        plan = await planned(stream, task.run_id)
        if plan.hash != task.plan_hash:
            raise Incomplete(f"run {task.run_id} is of the plan {plan.hash}, not of {task.plan_hash}")
        marker = Marker(stream, task.run_id, shard)
        marking = asyncio.create_task(marker.run())
        try:
            async with _sinks(machine.cloud, plan, around.secrets) as (sink, dead_letter):
                tools = Tools(
                    selector=selector_of(stream, task.memory),
                    sink=sink,
                    dead_letter=dead_letter,
                    pacer=Pacer(machine.clock, task.pace),
                    holder=f"{around.holder}/{machine.entropy.hex(8)}",
                    halted=halting.is_set,
                    observer=marker,
                    settings=task.settings,
                )
                end = await _until_halted(run_one(stream, task.run_id, shard, tools), halting, task.grace)
        finally:
            marking.cancel()
            await asyncio.wait([marking])
        await marker.leave_last(end)
    return _of(end, shard)


def _of(end: End | None, shard: int) -> Verdict:
    if end is None:
        return Verdict(ExitCode.HALTED, Reason.SUSPENDED, f"shard {shard} was halted")
    code = ExitCode.DONE if end.state is EndState.SUCCEEDED else ExitCode.FAILED
    return Verdict(code, end.reason, end.message or end.reason.meaning)


async def _until_halted(working: Awaitable[T | None], halting: asyncio.Event, grace: float) -> T | None:
    """What the work comes to; None where it was told to stop and did, or did not within `grace` seconds and
    was cancelled."""
    task = asyncio.ensure_future(working)
    told = asyncio.ensure_future(halting.wait())
    try:
        await asyncio.wait([task, told], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait([task], timeout=grace)
        if task.done():
            return task.result()
        log.warning("no checkpoint within %.0f s: a chunk stays in doubt", grace)
    finally:
        told.cancel()
        task.cancel()
        await asyncio.wait([task])
    return None


@asynccontextmanager
async def _sinks(cloud: AwsCloud, plan: ReplayPlan, secrets: Path) -> AsyncIterator[tuple[Sink, Sink | None]]:
    """The plan's target, and where refused events go. Raises `SecretUnusable`."""
    target = plan.spec.target
    sinks = [cloud.sink(target, None if target.secret is None else authenticated_by(secrets, target.secret))]
    if plan.spec.dead_letter is not None:
        sinks.append(cloud.sink(TargetAddress(TargetType.SQS, plan.spec.dead_letter)))
    try:
        yield sinks[0], sinks[1] if len(sinks) > 1 else None
    finally:
        for sink in sinks:
            await sink.close()


# an aggregate


async def answered(task: AggregateTask, stream: Stream, athena: Athena | None = None) -> Verdict:
    asking = Asking(task.namespace, task.name, task.definition_hash, task.known_by, task.as_of)
    answer = await find_answer(stream, asking)
    if answer is None:
        answer = await compute(
            stream,
            await read_definition(stream, task.definition_hash),
            namespace=task.namespace,
            name=task.name,
            known_by=task.known_by,
            as_of=None if task.as_of is None else parse_instant(task.as_of),
            memory=task.memory,
            athena=athena,
        )
        await keep_answer(stream, asking, answer)
    message = f"version {answer.version}"
    if task.before is not None:
        message += await _compared(task, stream, answer, task.before)
    return Verdict(ExitCode.DONE, Reason.SUCCEEDED, message)


async def _compared(task: AggregateTask, stream: Stream, answer: Answer, version: str) -> str:
    try:
        before = await read_answer(stream, version)
    except NoSuchObject:
        return f"; there is no version {version} to compare it with"
    try:
        check_comparable(before, answer)
    except Incomparable as error:
        return f"; {error}"  # the answer is one all the same
    if await find_difference(stream, before, answer) is None:
        found = await compare(stream, before, answer, task.memory)
        await keep_difference(stream, before, answer, found)
    return f", compared with {version}"


# the ports


@dataclass(frozen=True, slots=True)
class _Machine:
    clock: SystemClock
    entropy: SystemEntropy
    cpu: ThreadOffload
    cloud: AwsCloud
    scratch: Path

    def athena(self, task: AggregateTask) -> Athena | None:
        """Its queries are stopped when the pod is: nobody says to a pod whether another follows."""
        if task.athena is None:
            return None
        stream = task.stream
        prefix = f"{stream.prefix}/"
        queries = queries_of(self._cloud_of(stream), stream.region, task.athena, stream.bucket, prefix)
        return Athena(queries, halted=lambda: True)

    def _cloud_of(self, task: StreamTask) -> AwsCloud:
        """With the role that is the stream's, if it has one."""
        if task.role is None:
            return self.cloud
        return self.cloud.assuming(AssumedRole(task.role.arn, task.role.external_id, task.role.session))

    def open(self, task: StreamTask) -> Stream:
        cloud = self._cloud_of(task)
        storage = Storage(prefix=task.prefix, region=task.region, retentionDays=task.retention_days)
        return open_stream(
            task,
            cloud.objects(task.bucket, storage),
            cloud.index(task.table, storage),
            self.scratch,
            clock=self.clock,
            entropy=self.entropy,
            work=self.cpu,
        )


@contextmanager
def _machine(
    around: Surroundings, *, loopback: bool = False, networks: ForbiddenNetworks = ()
) -> Iterator[_Machine]:
    """With threads, which end with the block."""
    clock, entropy = SystemClock(), SystemEntropy()
    io = ThreadOffload(around.access.connections, "aws")
    cpu = ThreadOffload(_CPU, "work")
    cloud = AwsCloud(
        around.access,
        io=io,
        cpu=cpu,
        clock=clock,
        entropy=entropy,
        loopback=loopback,
        networks=networks,
    )
    try:
        yield _Machine(clock, entropy, cpu, cloud, around.scratch)
    finally:
        cpu.close()
        io.close()
