"""Whether a slice has changed since its plan was made, where that must not be passed over."""

from __future__ import annotations

import msgspec

from pik.api.conditions import Reason
from pik.api.replay_job import StaleAction
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.stream import Stream
from pik.planning.replay.plan import ReplayPlan, may_hold_newer
from pik.ports.selection import Selector


class Change(msgspec.Struct, frozen=True):
    """Why the plan is not sent."""

    reason: Reason
    message: str


def is_kept(plan: ReplayPlan) -> bool:
    """Whether the plan is of a slice that must not set entities back."""
    return plan.spec.on_stale is StaleAction.FAIL


async def change_since(stream: Stream, plan: ReplayPlan, selector: Selector) -> Change | None:
    """What has come in since can only matter where it may be newer than an event of the slice."""
    snapshot = await take_snapshot(stream, now=stream.clock.now())
    known = {segment.key for segment in plan.segments}
    new = [entry for entry in snapshot.segments if entry.key not in known]
    if not any(may_hold_newer(plan.spec, entry) for entry in new):
        return None
    measure = (await selector.measure(plan.spec, snapshot.segments)).measure
    if measure.stale > 0:
        message = f"{measure.stale} entities have got newer events outside the slice since the plan was made"
        return Change(Reason.STALE_EVENTS, message)
    if measure.matched != plan.measure.matched:
        before, now = plan.measure.matched, measure.matched
        message = f"the slice held {before} events when it was planned and now holds {now}"
        return Change(Reason.PLAN_CHANGED, message)
    return None
