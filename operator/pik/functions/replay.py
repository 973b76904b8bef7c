"""Replays into a queue by a Lambda function: the kit's call over pik's own planner and run protocol, so that
a call that is tried again goes on with its run instead of sending twice."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from pik.api.capture_stream import ReplayPolicy
from pik.api.conditions import Reason
from pik.api.replay_job import Mode, StaleAction
from pik.api.targets import TargetType
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.sqs_sink import SQSSink
from pik.aws.system import ThreadOffload
from pik.domain.errors import InvalidExpression, OutOfMemory, PikError, RunKeyConflict
from pik.domain.instants import Instant
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.replay.changed import change_since, is_kept
from pik.execution.replay.dry_run import dry_run
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.ledger import read_progress
from pik.execution.replay.occupancy import leave, occupy
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import begin_run, planned, read_end, read_plan, read_record, same_run
from pik.execution.replay.settings import ShardSettings
from pik.execution.replay.tools import Tools, Unobserved
from pik.execution.stream_task import StreamTask
from pik.functions.health import health, is_health_check
from pik.functions.invocations import Invocation
from pik.functions.replay_request import InvalidRequest, Job, ReplayRequest, job_of, read_request
from pik.functions.streams import THREADS, access_of, make_room, memory_of, opened
from pik.functions.tasks import decode_task
from pik.planning.replay.estimate import estimated_seconds
from pik.planning.replay.occupancy import Occupant, occupant
from pik.planning.replay.pace import effective_pace
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.policy import StreamAddresses, approval_refusal, plan_refusals, spec_refusals
from pik.planning.replay.records import End, EndState, Totals
from pik.planning.replay.spec import TargetAddress

T = TypeVar("T")

log = logging.getLogger(__name__)

TASK = "PIK_REPLAY"
"""Name of the environment variable that has the `ReplayTask`, as JSON."""

TOO_LARGE = "SliceTooLarge"
INVALID = "InvalidRequest"
NO_PLAN = "NoSuchPlan"

# short, so that a chunk comes to its end within what an invocation is given, and a lease after one that was
# ended by force
_SETTINGS = ShardSettings(
    chunk_seconds=2.0, attempts=4, longest_wait=2.0, longest_asked_wait=4.0, lease_seconds=10.0
)
_MARGIN = 10.0  # seconds before the end of an invocation from which on no chunk is begun
_LOOK_AGAIN = 0.5  # seconds between two looks at whether a queue is free
_SHARE = 2  # of an invocation's time, where that is less


class ReplayTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a function replays, and where to. `queue_url`: of the SQS queue; `policy`: what the stream's owner
    allows (law 11); `most_events`, `most_bytes` (of payloads): of one invocation; `on_stale`: as in a
    ReplayJob; `memory`: as in `relation.connect`, by default what AWS says that the function has."""

    stream: StreamTask
    queue_url: str
    policy: ReplayPolicy = ReplayPolicy()
    most_events: int = 10_000
    most_bytes: int = 64 * 2**20
    on_stale: StaleAction = StaleAction.SEND
    memory: str | None = None


class Declined(PikError):
    """Nothing more is sent, and nothing will be however often this is tried. `scanned`: events of the slice,
    where they were counted; `job`: what to apply instead; `sent`: by the run, before."""

    def __init__(
        self, reason: str, message: str, scanned: int = 0, job: Job | None = None, sent: int = 0
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.scanned = scanned
        self.job = job
        self.sent = sent


class Unfinished(PikError):
    """The invocation's time is up, or somebody else has the run. The same request goes on with it."""


class ReplayFunction:
    """One instance of the function. Invocations come one after the other, on one event loop that is kept
    between them."""

    def __init__(self, task: ReplayTask, access: AwsAccess, scratch: Path, memory: str | None = None) -> None:
        self._runner = asyncio.Runner()
        self._task = task
        self._stream = opened(task.stream, access, scratch)
        self._selector = DuckDBSelector(self._stream, _no_condition, memory)
        there = TargetAddress(TargetType.SQS, task.queue_url).region
        clients = AwsClients(msgspec.structs.replace(access, region=there or access.region))
        self._sink = SQSSink(clients.client("sqs"), ThreadOffload(THREADS, "sqs"), task.queue_url)
        self._segments = scratch / "segments"

    def __call__(self, event: Mapping[str, Any], invocation: Invocation) -> dict[str, Any]:
        """What was sent, or why nothing was. Raises what may go well if the same is tried again."""
        if is_health_check(event):
            return self._runner.run(health(self._stream))
        make_room(self._segments)
        try:
            return self._runner.run(self._replayed(event, invocation))
        except Declined as why:
            log.error("nothing more is replayed: %s: %s", why.reason, why)  # noqa: TRY400 - it says all
            error = {"reason": why.reason, "message": str(why)}
            answer = {"scanned": why.scanned, "sent": why.sent, "error": error}
            return answer if why.job is None else {**answer, "replay_job": _yaml(why.job, Mode.DRY_RUN)}

    def close(self) -> None:
        """Ends its event loop, in a process that outlives it."""
        self._runner.close()

    async def _replayed(self, event: Mapping[str, Any], invocation: Invocation) -> dict[str, Any]:
        task = self._task
        try:
            request = read_request(event)
            job = job_of(request, task.stream, task.queue_url, task.on_stale, invocation.request_id)
        except InvalidRequest as error:
            raise Declined(INVALID, str(error)) from error
        run_id = job.run_id(task.stream.stream_id)
        left = invocation.seconds_left()
        margin = min(_MARGIN, left / _SHARE)
        record = await read_record(self._stream, run_id)
        if record is not None:
            try:
                same_run(record, job.planned.digest)
            except RunKeyConflict as error:
                raise Declined(Reason.RUN_KEY_CONFLICT, str(error)) from error
            plan = await planned(self._stream, run_id)
            try:
                return await self._gone_on(plan, request, job, invocation, margin)
            except Declined as why:
                sent = (await read_progress(self._stream, run_id)).totals.sent
                raise Declined(why.reason, str(why), plan.measure.matched, why.job, sent) from why
        self._refuse_spec(job)
        plan = await self._plan(request, job, run_id, left - margin)
        if request.dry_run:
            return _shown(plan, job)
        self._refuse_plan(plan, job, left - margin)
        waited = await self._until_free(job, run_id, invocation, margin)
        if is_kept(plan) and (waited or request.plan is not None):
            await self._refuse_changed(plan, job, invocation.seconds_left() - margin)
        await begin_run(
            self._stream,
            plan,
            namespace=job.namespace,
            name=job.name,
            run_key=job.spec.runKey,
            approved_by=None,
        )
        return await self._run(plan, job, invocation, margin)

    async def _gone_on(
        self, plan: ReplayPlan, request: ReplayRequest, job: Job, invocation: Invocation, margin: float
    ) -> dict[str, Any]:
        """A run that was begun before: what it came to, where it has ended."""
        if request.plan not in (None, plan.hash):
            raise Declined(NO_PLAN, f"run_key {job.spec.runKey} was begun with the plan {plan.hash}")
        if request.dry_run:
            return _shown(plan, job)
        end = await read_end(self._stream, plan.run_id)
        if end is not None:
            return _told(plan, job, end)
        self._refuse_spec(job)
        self._refuse_unapproved(plan, job)
        await self._until_free(job, plan.run_id, invocation, margin)
        return await self._run(plan, job, invocation, margin)

    def _refuse_spec(self, job: Job) -> None:
        at = self._task.stream
        own = StreamAddresses((), at.bucket, f"{at.prefix}/")
        for refusal in spec_refusals(self._task.policy, job.planned, None, own, loopback=True):
            raise Declined(refusal.reason, refusal.message)

    async def _plan(self, request: ReplayRequest, job: Job, run_id: str, seconds: float) -> ReplayPlan:
        if request.plan is not None:
            shown = await read_plan(self._stream, run_id, request.plan)
            if shown is None or shown.spec != job.planned:
                raise Declined(NO_PLAN, f"no plan {request.plan} of this slice was shown under this run_key")
            return shown

        async def plan() -> ReplayPlan:
            snapshot = await take_snapshot(self._stream, now=self._stream.clock.now())
            return await dry_run(self._stream, snapshot, job.planned, run_id, self._selector)

        return await self._read(plan(), job, seconds)

    async def _refuse_changed(self, plan: ReplayPlan, job: Job, seconds: float) -> None:
        """Of a slice that must not set entities back, whose plan is of some time ago."""
        change = await self._read(change_since(self._stream, plan, self._selector), job, seconds)
        if change is not None:
            await leave(self._stream, plan.spec.target.place, plan.run_id)
            raise Declined(change.reason, change.message, plan.measure.matched)

    async def _read(self, reading: Awaitable[T], job: Job, seconds: float) -> T:
        """What comes of reading the slice, where that fits into the invocation."""
        try:
            async with asyncio.timeout(seconds):
                return await reading
        except TimeoutError as error:
            message = f"the slice could not be read within the {seconds:.0f} s that there were"
            raise Declined(TOO_LARGE, _instead(message, job), job=job) from error
        except OutOfMemory as error:
            raise Declined(TOO_LARGE, _instead(str(error), job), job=job) from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            message = "the segments that the slice is read from do not fit on the function's disk"
            raise Declined(TOO_LARGE, _instead(message, job), job=job) from error

    def _refuse_unapproved(self, plan: ReplayPlan, job: Job) -> None:
        """Nobody approves what a function sends: that takes a ReplayJob."""
        refusal = approval_refusal(self._task.policy, plan.spec.stream, plan.hash, None)
        if refusal is not None:
            raise Declined(refusal.reason, _instead(refusal.message, job), plan.measure.matched, job)

    def _refuse_plan(self, plan: ReplayPlan, job: Job, seconds: float) -> None:
        """Before anything is sent: by what the owner allows, and by what fits into one invocation."""
        task, measure = self._task, plan.measure
        self._refuse_unapproved(plan, job)
        for refusal in plan_refusals(task.policy, plan, None):
            raise Declined(refusal.reason, refusal.message, measure.matched)
        paced = estimated_seconds(measure, effective_pace(task.policy, None)) or 0.0
        for wanted, most, of in (
            (measure.matched, task.most_events, "events"),
            (measure.bytes, task.most_bytes, "bytes"),
            (paced, seconds, "seconds at the pace that the stream's owner allows"),
        ):
            if wanted > most:
                message = f"the slice has {wanted:,.0f} {of}, and one invocation takes {most:,.0f}"
                raise Declined(TOO_LARGE, _instead(message, job), measure.matched, job)

    async def _until_free(self, job: Job, run_id: str, invocation: Invocation, margin: float) -> bool:
        """Waits while another run sends what may be the same to the queue: one of a function ends soon, and
        of one of a ReplayJob an operator knows more. Whether it had to. Raises `Unfinished`."""
        spec, clock = job.planned, self._stream.clock
        waited = False
        while True:
            now = clock.now()
            until = Instant(now.micros + round(max(0.0, invocation.seconds_left()) * 1_000_000)).text
            own = occupant(spec, run_id, job.namespace, job.name, job.spec.runKey, now.text, until)
            other = await occupy(self._stream, spec.target.place, own, _still_asked(now))
            if other is None:
                return waited
            waited = True
            if invocation.seconds_left() < margin:
                raise Unfinished(
                    f"run {other.run_key!r} of {other.namespace}/{other.name} sends {other.start} to"
                    f" {other.end} to the same queue since {other.since}. The same request with run_key"
                    f" {job.spec.runKey} goes on when that one has ended, and so does this ReplayJob:\n"
                    + _yaml(job, Mode.RUN)
                )
            await clock.sleep(_LOOK_AGAIN)

    async def _run(self, plan: ReplayPlan, job: Job, invocation: Invocation, margin: float) -> dict[str, Any]:
        """Sends what is left of the run. Raises `Unfinished`, and what `run_replay` does."""
        tools = Tools(
            selector=self._selector,
            sink=self._sink,
            dead_letter=None,
            pacer=Pacer(self._stream.clock, effective_pace(self._task.policy, None)),
            holder=f"lambda/{invocation.request_id}/{self._stream.entropy.hex(8)}",
            halted=lambda: invocation.seconds_left() < margin,
            observer=Unobserved(),
            settings=_SETTINGS,
        )
        end = await run_replay(self._stream, plan.run_id, tools, parallelism=1)
        if end is None:
            sent = (await read_progress(self._stream, plan.run_id)).totals.sent
            raise Unfinished(
                f"time is up: {sent} of {plan.measure.matched} events are sent. The same request with"
                f" run_key {job.spec.runKey} goes on with it, and so does this ReplayJob:\n"
                + _yaml(job, Mode.RUN)
            )
        return _told(plan, job, end)


def replay_function(environ: Mapping[str, str], scratch: Path) -> ReplayFunction:
    """As the environment says. Raises ValueError for what is no task."""
    task = decode_task(environ[TASK], ReplayTask)
    return ReplayFunction(task, access_of(environ), scratch, task.memory or memory_of(environ))


def _still_asked(now: Instant) -> Callable[[Occupant, bool], bool]:
    """Of a ReplayJob's run: nobody here sees the job, and it may be gone."""
    return lambda run, _: run.stands(now)


def _no_condition(where: str) -> str:
    raise InvalidExpression(f"the kit's call has no condition: {where}")


def _told(plan: ReplayPlan, job: Job, end: End) -> dict[str, Any]:
    answer = _answer(plan, job, end.totals)
    if end.state is EndState.FAILED:
        answer["error"] = {"reason": end.reason, "message": end.message or end.reason.meaning}
    if end.failures:
        answer["failures"] = msgspec.to_builtins(end.failures)
    return answer


def _shown(plan: ReplayPlan, job: Job) -> dict[str, Any]:
    return {**_answer(plan, job, Totals()), "dry_run": True}


def _answer(plan: ReplayPlan, job: Job, totals: Totals) -> dict[str, Any]:
    """`scanned`: events of the slice, each of which was sent, failed, was held, or was skipped."""
    return {
        "scanned": plan.measure.matched,
        "sent": totals.sent,
        "failed": totals.failed,
        "held": totals.held,
        "skipped": totals.skipped,
        "stale": plan.measure.stale,
        "run_id": plan.run_id,
        "run_key": job.spec.runKey,
        "plan": plan.hash,
        "as_of": plan.as_of,
    }


def _instead(why: str, job: Job) -> str:
    return f"{why}: apply the ReplayJob {job.namespace}/{job.name} instead"


def _yaml(job: Job, mode: Mode) -> str:
    text: str = yaml.safe_dump(job.manifest(mode), sort_keys=False, allow_unicode=True)
    return text
