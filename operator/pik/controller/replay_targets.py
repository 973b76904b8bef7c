"""Whether a run may send to its target now: not while another one does whose window overlaps."""

from __future__ import annotations

from msgspec import structs

from pik.api.conditions import ConditionType, Reason, is_true
from pik.api.replay_job import Mode, ReplayJob
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Waiting
from pik.controller.replay_status import JobPass
from pik.execution.replay.occupancy import leave, occupy
from pik.execution.replay.runs import planned, read_record
from pik.execution.stream import Stream
from pik.planning.replay.occupancy import Occupant, occupant
from pik.planning.replay.spec import replay_spec

_AGAIN = 15.0  # seconds; the other one's end wakes it before, where this process is at it


async def target_taken(job: JobPass) -> Waiting | None:
    """Takes the target for the job's run, or says which run is waited for."""
    resource = job.resource
    run = occupant(
        job.spec,
        job.run_id,
        resource.metadata.namespace,
        resource.metadata.name,
        resource.spec.runKey,
        job.world.clock.now().text,
    )

    def is_wanted(other: Occupant, begun: bool) -> bool:
        """By its object: one that was deleted, or asks for another run by now, goes on with no run, nor does
        one with another slice or target. What was not begun is nothing unless it still is to be."""
        there = job.world.objects.find(_key(other))
        if not isinstance(there, ReplayJob) or there.metadata.deletionTimestamp is not None:
            return False
        same = there.spec.runKey == other.run_key and _asks(there, other, job.spec.target.place)
        return same and (begun or _begins(there))

    other = await occupy(job.opened.stream, job.spec.target.place, run, is_wanted)
    if other is None:
        return None
    message = (
        f"ReplayJob {other.namespace}/{other.name} (runKey {other.run_key!r}) sends {other.time_field} "
        f"{other.start} to {other.end} to the same target since {other.since}: this one goes on when that "
        "one has ended, is deleted, or gets another runKey"
    )
    return Waiting(Reason.TARGET_BUSY, message, on=_key(other), again=_AGAIN)


async def target_left(job: JobPass) -> None:
    """The job's run does not begin, so that it is in nobody's way until it asks again."""
    await leave(job.opened.stream, job.spec.target.place, job.run_id)


async def former_target_left(stream: Stream, run_id: str) -> None:
    """A run that was begun goes on no more by its object."""
    if await read_record(stream, run_id) is not None:
        await leave(stream, (await planned(stream, run_id)).spec.target.place, run_id)


def _asks(resource: ReplayJob, run: Occupant, place: str) -> bool:
    """Whether the object asks for this slice and this target."""
    asked = replay_spec(resource.spec, resource.metadata.namespace)
    wanted = occupant(asked, run.run_id, run.namespace, run.name, run.run_key, run.since, run.until)
    return asked.target.place == place and structs.replace(wanted, asked=run.asked) == run


def _begins(resource: ReplayJob) -> bool:
    """Whether the object is about to begin its run: where it may not, it asks again when it may."""
    stalled = is_true(resource.status.conditions, ConditionType.STALLED)
    return resource.spec.mode is Mode.RUN and not resource.spec.suspend and not stalled


def _key(run: Occupant) -> ObjectKey:
    return ObjectKey(ReplayJob.KIND, run.namespace, run.name)
