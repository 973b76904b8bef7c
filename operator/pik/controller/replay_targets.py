"""Whether a run may send to its target now: not while another one does whose window overlaps."""

from __future__ import annotations

from pik.api.conditions import Reason
from pik.api.replay_job import Mode, ReplayJob
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Waiting
from pik.controller.replay_status import JobPass
from pik.execution.replay.occupancy import occupy
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
        """By its object: one that was deleted, or asks for another run by now, goes on with no run. What was
        not begun is nothing unless it still is to be."""
        there = job.world.objects.find(_key(other))
        if not isinstance(there, ReplayJob) or there.metadata.deletionTimestamp is not None:
            return False
        return there.spec.runKey == other.run_key and (begun or _begins(there, other, job.spec.target.place))

    other = await occupy(job.opened.stream, job.spec.target.place, run, is_wanted)
    if other is None:
        return None
    message = (
        f"ReplayJob {other.namespace}/{other.name} (runKey {other.run_key!r}) sends {other.time_field} "
        f"{other.start} to {other.end} to the same target since {other.since}: this one goes on when that "
        "one has ended, is deleted, or gets another runKey"
    )
    return Waiting(Reason.TARGET_BUSY, message, on=_key(other), again=_AGAIN)


def _begins(resource: ReplayJob, run: Occupant, place: str) -> bool:
    """Whether the object still asks for this run."""
    asked = replay_spec(resource.spec, resource.metadata.namespace)
    same = (asked.target.place, asked.start, asked.end) == (place, run.start, run.end)
    return same and resource.spec.mode is Mode.RUN and not resource.spec.suspend


def _key(run: Occupant) -> ObjectKey:
    return ObjectKey(ReplayJob.KIND, run.namespace, run.name)
