"""The plan that a ReplayJob shows: found, made beside the passes, compared with what has come in since."""

from __future__ import annotations

from pik.api.conditions import ConditionType, Reason, condition_of
from pik.api.replay_job import Mode, ReplayJobStatus
from pik.controller.engines import selector_of
from pik.controller.faults import STALLED_AGAIN
from pik.controller.outcome import Stalled, Waiting
from pik.controller.replay_status import JobPass
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.replay.changed import change_since, is_kept
from pik.execution.replay.dry_run import dry_run
from pik.execution.replay.runs import read_plan
from pik.planning.replay.plan import ReplayPlan

_PLAN = "plan"  # the names of these works in the background
_CHECK = "check"
_T = ConditionType


def is_being_made(job: JobPass) -> bool:
    """Whether the plan is."""
    return job.world.background.is_known(job.key, _PLAN)


async def shown_plan(job: JobPass, status: ReplayJobStatus) -> ReplayPlan | None:
    """The plan that was approved, or else shown, if it is one of this spec. A plan of which it was said that
    it is out of date is not shown again in a dry run."""
    approval = job.resource.spec.approval
    hashes = [approval.plan] if approval is not None else []
    complete = condition_of(status.conditions, _T.COMPLETE)
    outdated = complete is not None and complete.reason == Reason.PLAN_CHANGED
    if status.plan is not None and not (outdated and job.resource.spec.mode is Mode.DRY_RUN):
        hashes.append(status.plan.hash)
    for plan_hash in hashes:
        plan = await read_plan(job.opened.stream, job.run_id, plan_hash)
        if plan is not None and plan.spec == job.spec:
            return plan
    return None


async def made_plan(job: JobPass) -> ReplayPlan | None:
    """A new plan; None while it is being made."""

    async def make() -> ReplayPlan:
        stream = job.opened.stream
        snapshot = await take_snapshot(stream, now=job.world.clock.now())
        return await dry_run(stream, snapshot, job.spec, job.run_id, selector_of(stream, job.world.memory))

    # the digest is of the spec without its runKey: with another key it is the plan of another run
    made = job.world.background.poll(job.key, _PLAN, f"{job.run_id} {job.spec.digest}", make)
    return None if made is None else made.value


async def changed_since(job: JobPass, plan: ReplayPlan) -> Waiting | Stalled | None:
    """Whether a slice that must not set entities back has changed since its plan was made."""
    if not is_kept(plan):
        return None

    async def look() -> Stalled | None:
        stream = job.opened.stream
        change = await change_since(stream, plan, selector_of(stream, job.world.memory))
        if change is None:
            return None
        message = change.message
        if change.reason is Reason.PLAN_CHANGED:
            message += ": set mode to DryRun to see the new plan, or onStale to Send"
        return Stalled(change.reason, message, again=STALLED_AGAIN)

    looked = job.world.background.poll(job.key, _CHECK, plan.hash, look)
    return (
        Waiting(Reason.PLANNING, "the plan is compared with what has come in since")
        if looked is None
        else looked.value
    )
