"""`controller.runs.Computations` over Jobs: a pod computes and keeps what it found; here that is looked for,
and a Job made where it is not there."""

from __future__ import annotations

from pik.api.aggregate_version import AggregateVersion, Difference
from pik.api.conditions import Reason
from pik.cluster.jobs.children import Children, Kind
from pik.cluster.jobs.decide import Ended, Leave, Queue, due_in
from pik.cluster.jobs.manifests import Wanted, wanted_aggregate
from pik.cluster.jobs.runs import stalled
from pik.cluster.jobs.seen import Job, JobState, Pod, newest
from pik.cluster.jobs.settings import JobSettings
from pik.cluster.jobs.verdicts import ExitCode
from pik.controller.computations import comparing, in_numbers
from pik.controller.engines import check_definition
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Stalled, Waiting
from pik.controller.runs import Question
from pik.domain.instants import parse_instant
from pik.execution.aggregate.answers import Asking, find_answer, find_difference, keep_definition
from pik.execution.aggregate.records import Answer, check_comparable, read_answer, resolve
from pik.ports.system import Clock

_LOOK_AGAIN = 10.0  # seconds; a change of the Job wakes its object before
_SOON = 1.0
_QUEUED_AGAIN = 30.0


class JobComputations:
    """Belongs to one event loop."""

    def __init__(self, children: Children, settings: JobSettings, clock: Clock) -> None:
        self._children = children
        self._settings = settings
        self._clock = clock

    async def answer(self, question: Question) -> Answer | Waiting | Stalled:
        spec, meta, stream = question.resource.spec, question.resource.metadata, question.opened.stream
        found = await find_answer(stream, _asking(question))
        if found is not None:
            if spec.compareTo is None:
                await self._children.release(question.key)
            return found
        # what cannot be computed is found out without a pod
        check_definition(question.definition, spec.engine)
        as_of = None if spec.asOf is None else parse_instant(spec.asOf)
        definition = question.definition.hash
        await resolve(stream, meta.namespace, meta.name, definition, spec.knownBy, as_of)
        await keep_definition(stream, question.definition)
        return await self._computing(question, Waiting(Reason.COMPUTING, again=_LOOK_AGAIN))

    async def difference(self, question: Question, own: str, before: str) -> Difference | Waiting | Stalled:
        stream = question.opened.stream
        one = await read_answer(stream, before)
        other = await find_answer(stream, _asking(question))
        if other is None or other.version != own:
            other = await read_answer(stream, own)  # it was computed without a pod
        check_comparable(one, other)
        found = await find_difference(stream, one, other)
        if found is not None:
            await self._children.release(question.key)
            return in_numbers(found)
        await keep_definition(stream, question.definition)
        return await self._computing(question, comparing(before))

    async def halt(self, key: ObjectKey) -> None:
        await self._children.remove(key)

    async def forget(self, key: ObjectKey) -> None:
        await self._children.remove(key)

    async def _computing(self, question: Question, working: Waiting) -> Waiting | Stalled:
        """Sees to it that a Job computes; `working`: what is said while it does."""
        wanted = wanted_aggregate(question, self._settings)
        soon = Waiting(working.reason, working.message, again=_SOON)
        match await self._children.ensure(wanted):
            case Leave(job):
                return await self._troubled(question.key, job) or working
            case Ended(job):
                return await self._ended(question.key, wanted, job) or soon
            case Queue(job):
                return Waiting(Reason.QUEUED, f"the queue holds the Job {job.name}", again=_QUEUED_AGAIN)
            case _:
                return soon

    async def _troubled(self, key: ObjectKey, job: Job) -> Waiting | Stalled | None:
        if job.ready == job.active > 0:
            return None
        pods = await self._children.pods(key, job)
        for trouble in await self._children.troubles(key, job, pods, self._clock.now()):
            if trouble.kind in (Kind.UNMADE, Kind.STUCK):
                return Stalled(Reason.WORKER_FAILED, str(trouble), again=_LOOK_AGAIN)
            return Waiting(Reason.COMPUTING, str(trouble), again=_LOOK_AGAIN)
        return None

    async def _ended(self, key: ObjectKey, wanted: Wanted, job: Job) -> Waiting | Stalled | None:
        """A Job that has ended without what is wanted: what is said of that; None: another was made."""
        pods = newest(await self._children.pods(key, job)) if job.state is JobState.FAILED else []
        seen = any(_is_out_of_memory(pod) for pod in pods)
        if seen and not job.out_of_memory:
            await self._children.note_out_of_memory(key, job)
        if (seen or job.out_of_memory) and job.digest == wanted.digest:  # it would need as much again
            message = (
                f"it needs more than the {job.memory} of memory that it was given: give it more by "
                "spec.execution.memory"
            )
            return Stalled(Reason.OUT_OF_MEMORY, message)
        wait = due_in(job, wanted, self._clock.now())
        if wait > 0:
            return stalled(AggregateVersion.KIND, job, pods, wait)
        await self._children.create(wanted)
        return None


def _is_out_of_memory(pod: Pod) -> bool:
    return pod.out_of_memory or (pod.verdict is not None and pod.verdict.code == ExitCode.OUT_OF_MEMORY)


def _asking(question: Question) -> Asking:
    meta, spec = question.resource.metadata, question.resource.spec
    return Asking(meta.namespace, meta.name, question.definition.hash, spec.knownBy, spec.asOf)
