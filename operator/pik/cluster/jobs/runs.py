"""`controller.runs.Runs` over Indexed Jobs: a shard an index, by pods of the object's namespace."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pik.api.conditions import REASONS, ConditionType, Reason
from pik.api.replay_job import ReplayJob
from pik.cluster.jobs.children import Children, Kind, Trouble
from pik.cluster.jobs.decide import Ended, Idle, Leave, Queue, due_in
from pik.cluster.jobs.manifests import Wanted, wanted_replay
from pik.cluster.jobs.seen import Job, JobState, Pod, newest
from pik.cluster.jobs.settings import JobSettings
from pik.cluster.jobs.verdicts import ExitCode
from pik.controller.objects import ObjectKey
from pik.controller.outcome import EventType, ObjectEvent, Stalled, Waiting
from pik.controller.runs import Run, Standing
from pik.domain.errors import NoSuchTable
from pik.execution.replay.conclusion import conclude_shards
from pik.execution.replay.ledger import Progress, ShardProgress, read_progress, read_shards, whole
from pik.execution.replay.marks import read_marks
from pik.planning.replay.policy import Refusal
from pik.ports.system import Clock

LOOK_AGAIN = 3.0  # seconds: progress is to be seen within five
SOON = 1.0  # seconds, where something was just begun
_QUEUED_AGAIN = 30.0  # its Job's change wakes it before

_BY_POLICY = "PodFailurePolicy"  # reason of a Job that ended since no pod of it could succeed
_SHOWN = (Reason.TARGET_UNAVAILABLE, Reason.AWS_UNAVAILABLE, Reason.INCOMPLETE_READ)
_TOLD = 256  # failed pods of a run that events were made of


class JobRuns:
    """Belongs to one event loop. What it remembers is for comfort: a new process begins without it."""

    def __init__(self, children: Children, settings: JobSettings, clock: Clock) -> None:
        self._children = children
        self._settings = settings
        self._clock = clock
        self._known: dict[ObjectKey, tuple[str, dict[int, ShardProgress]]] = {}
        self._well: dict[ObjectKey, tuple[str, int]] = {}  # a Job (uid, failed pods) whose pods work
        self._told: dict[ObjectKey, list[str]] = {}

    def refusal(self, resource: ReplayJob) -> Refusal | None:  # noqa: ARG002
        return None

    async def ensure(self, run: Run) -> Standing:
        wanted = wanted_replay(run, self._settings)
        match await self._children.ensure(wanted):
            case Leave(job):
                return await self._working(run, job)
            case Ended(job):
                return await self._ended(run, wanted, job)
            case Queue(job):
                message = f"the queue holds the Job {job.name}"
                return Standing(outcome=Waiting(Reason.QUEUED, message, again=_QUEUED_AGAIN))
            case Idle():
                message = "pods of an earlier attempt are coming to a checkpoint"
                return Standing(outcome=Waiting(Reason.RUNNING, message, again=SOON))
            case _:
                return Standing(outcome=Waiting(Reason.RUNNING, again=SOON))

    async def abandon(self, resource: ReplayJob) -> None:
        await self._children.remove(
            ObjectKey(resource.KIND, resource.metadata.namespace, resource.metadata.name)
        )

    async def hold(self, key: ObjectKey) -> None:
        await self._children.hold(key)

    async def progress(self, run: Run, *, ended: bool) -> Progress:
        stream = run.opened.stream
        if ended:
            self._known.pop(run.key, None)
            return await read_progress(stream, run.id)
        of, shards = self._known.get(run.key, ("", {}))
        if of != run.id:
            shards = await read_shards(stream, run.id)
        # a table that was made anew has not all marks, and shows none of less than was known
        with suppress(NoSuchTable):
            for shard, mark in (await read_marks(stream, run.id)).items():
                if mark.number > shards.get(shard, ShardProgress()).number:
                    shards[shard] = mark
        self._known[run.key] = (run.id, shards)
        return whole(shards)

    async def ended(self, run: Run) -> None:
        await self._children.release(run.key)
        with suppress(NoSuchTable):
            await run.opened.stream.index.drop_marks(run.id)
        self._forget(run.key)

    async def stopped(self, key: ObjectKey) -> bool:  # noqa: ARG002 - pods stop by themselves
        return True

    async def forget(self, key: ObjectKey) -> None:
        """The garbage collector does that too, but not to what was orphaned."""
        self._forget(key)
        await self._children.remove(key)

    def _forget(self, key: ObjectKey) -> None:
        self._known.pop(key, None)
        self._well.pop(key, None)
        self._told.pop(key, None)

    async def _working(self, run: Run, job: Job) -> Standing:
        """A Job that goes on, and what keeps its pods from their work. Nothing more is asked where all that
        is active works, as it did the last time."""
        if job.ready == job.active > 0 and self._well.get(run.key) == (job.uid, job.failed):
            return Standing(outcome=Waiting(Reason.RUNNING, again=LOOK_AGAIN))
        pods = await self._children.pods(run.key, job)
        troubles = await self._children.troubles(run.key, job, pods, self._clock.now())
        events = tuple(self._failures(run.key, pods))
        if not troubles:
            if job.ready == job.active:
                self._well[run.key] = (job.uid, job.failed)
            return Standing(outcome=Waiting(Reason.RUNNING, again=LOOK_AGAIN), events=events)
        self._well.pop(run.key, None)
        return Standing(outcome=_troubled(troubles[0]), events=events)

    def _failures(self, key: ObjectKey, pods: Sequence[Pod]) -> list[ObjectEvent]:
        """An event for each pod that failed; what others came after before this process began to look was
        told by another."""
        if key not in self._told:
            last = {pod.uid for pod in newest(pods)}
            self._told[key] = [pod.uid for pod in pods if pod.uid not in last]
        told = self._told[key]
        new = [pod for pod in pods if pod.failed and pod.uid not in told]
        told += [pod.uid for pod in new]
        del told[:-_TOLD]
        troubles = [Trouble(Kind.FAILED, pod.why(), pod) for pod in new]
        return [ObjectEvent(EventType.WARNING, "ShardFailed", str(one)) for one in troubles]

    async def _ended(self, run: Run, wanted: Wanted, job: Job) -> Standing:
        """A Job that has ended: the run's end, or what keeps it from having one."""
        pods: list[Pod] = []
        given_up: dict[int, str] = {}
        if job.state is JobState.FAILED:
            pods = newest(await self._children.pods(run.key, job))
            if job.reason != _BY_POLICY:
                last = {pod.index: pod.why() for pod in pods if pod.failed}
                given_up = {
                    index: f"shard {index} failed more often than retriesPerShard allows, at last: "
                    + last.get(index, "its pod is gone")
                    for index in job.failed_indexes
                }
        end = await conclude_shards(run.opened.stream, run.id, given_up)
        if end is not None:
            return Standing(end)
        wait = due_in(job, wanted, self._clock.now())
        if wait <= 0:
            await self._children.create(wanted)
            return Standing(outcome=Waiting(Reason.RUNNING, again=SOON))
        return Standing(outcome=stalled(ReplayJob.KIND, job, pods, wait))


def _troubled(trouble: Trouble) -> Waiting | Stalled:
    """What is said while pods do not all work."""
    if trouble.kind in (Kind.UNMADE, Kind.STUCK):
        return Stalled(Reason.WORKER_FAILED, str(trouble), again=LOOK_AGAIN)
    verdict = None if trouble.pod is None else trouble.pod.verdict
    reason = verdict.reason if verdict is not None and verdict.reason in _SHOWN else Reason.RUNNING
    return Waiting(reason, str(trouble), again=LOOK_AGAIN)


def stalled(kind: str, job: Job, pods: Sequence[Pod], again: float) -> Stalled:
    """What an object of this kind says until the next attempt."""
    for pod in pods:
        if pod.verdict is not None and pod.verdict.code in (ExitCode.MISCONFIGURED, ExitCode.FAILED):
            documented = pod.verdict.reason in REASONS[kind][ConditionType.STALLED]
            reason = pod.verdict.reason if documented else Reason.WORKER_FAILED
            return Stalled(reason, pod.verdict.message, again=again)
    for pod in pods:
        if pod.failed:
            return Stalled(Reason.WORKER_FAILED, str(Trouble(Kind.FAILED, pod.why(), pod)), again=again)
    message = f"the Job {job.name} ended: {job.reason}: {job.message}".rstrip(": ")
    return Stalled(Reason.WORKER_FAILED, message, again=again)
