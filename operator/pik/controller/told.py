"""What a pass over a CaptureStream has found out, as its status says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pik.api.capture_stream import CaptureStream
from pik.api.common import StatusCondition
from pik.api.conditions import REASONS, ConditionType, Reason, condition_of, with_condition, without_condition
from pik.api.stream_status import CaptureStreamStatus, Drift, DriftAction
from pik.controller.faults import STALLED_AGAIN
from pik.controller.outcome import EventType, ObjectEvent, Stalled
from pik.domain.instants import Instant
from pik.planning.drift import Difference, Drifted

_MAX_DRIFT = 10
_FEEDING = (ConditionType.FUNCTIONS_READY, ConditionType.SOURCES_READY)
_STOPPED = (Reason.ROLE_NOT_ALLOWED, Reason.SOURCE_NOT_ALLOWED)
_CARRIED_OUT = (
    *(ConditionType.STORAGE_READY, ConditionType.INDEX_READY),
    *_FEEDING,
)


@dataclass(frozen=True, slots=True)
class Told:
    """What a pass has found out so far. Each step gives a new one."""

    status: CaptureStreamStatus
    generation: int
    now: Instant

    def condition(self, kind: ConditionType, status: bool | None, reason: Reason, message: str = "") -> Told:
        if reason not in REASONS[CaptureStream.KIND][kind]:
            status, reason = None, Reason.UNKNOWN
        generation: int | None = self.generation
        if kind in _CARRIED_OUT and not status:
            generation = carried_out(self.status, kind)
        conditions: tuple[StatusCondition, ...] = with_condition(
            self.status.conditions,
            kind,
            status,
            reason,
            message or reason.meaning,
            generation=generation,
            now=self.now,
        )
        return self.having(conditions=conditions)

    def without(self, kind: ConditionType) -> Told:
        return self.having(conditions=without_condition(self.status.conditions, kind))

    def having(self, **fields: object) -> Told:
        return Told(self.status.model_copy(update=fields), self.generation, self.now)


def carried_out(status: CaptureStreamStatus, part: ConditionType) -> int | None:
    """The newest generation as of which storage or index were as the spec wants them; None: they never were.
    Their condition keeps it while they are not, since what was refused or interrupted is not drift."""
    known = condition_of(status.conditions, part)
    return None if known is None else known.observedGeneration


def is_settled(status: CaptureStreamStatus, part: ConditionType, generation: int | None) -> bool:
    """Whether this spec was carried out before, so that what differs from it was changed by somebody else;
    but for what pik itself stopped."""
    feeding = (condition_of(status.conditions, each) for each in _FEEDING)
    stopped = any(known is not None and known.reason in _STOPPED for known in feeding)
    return carried_out(status, part) == generation and not stopped


def with_drift(status: CaptureStreamStatus, found: Drifted, now: Instant) -> tuple[Drift, ...]:
    """The latest first. What is reported again keeps the time of its first report."""
    known = {(drift.resource, drift.field, drift.action) for drift in status.drift}
    new = tuple(
        Drift(resource=difference.resource, field=difference.field, action=action, time=now.text)
        for difference, action in found
        if action is DriftAction.REPAIRED or (difference.resource, difference.field, action) not in known
    )
    return (*new, *status.drift)[:_MAX_DRIFT]


def drift_events(before: CaptureStreamStatus, after: CaptureStreamStatus) -> tuple[ObjectEvent, ...]:
    new = [drift for drift in after.drift if drift not in before.drift]
    return tuple(
        ObjectEvent(EventType.WARNING, f"Drift{drift.action}", f"{drift.field} of {drift.resource} differed")
        for drift in new
    )


def reported(found: Drifted) -> list[Difference[Any]]:
    return [difference for difference, action in found if action is DriftAction.REPORTED]


def stalled_by(differences: Sequence[Difference[Any]]) -> Stalled:
    """What is reported and not set right."""
    named = ", ".join(f"{difference.field} of {difference.resource}" for difference in differences)
    message = f"differs from the spec, and driftPolicy is Report: {named}"
    return Stalled(Reason.DRIFT_REPORTED, message, again=STALLED_AGAIN)
