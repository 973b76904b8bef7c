"""What a reconciler found, in four words, and the one place that makes conditions, requeue and events of it.

Which conditions a reason sets is not decided here: `pik.api.conditions.REASONS`, from which the documentation
is generated, says of every kind which reasons each of its conditions can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pik.api.aggregate_version import AggregateVersionStatus
from pik.api.common import StatusCondition
from pik.api.conditions import (
    REASONS,
    ConditionType,
    Reason,
    condition_of,
    with_condition,
    without_condition,
)
from pik.api.kinds import AnyResource
from pik.api.replay_job import ReplayJobStatus
from pik.api.stream_status import CaptureStreamStatus
from pik.controller.objects import ObjectKey
from pik.domain.instants import Instant, parse_instant

AnyStatus = CaptureStreamStatus | ReplayJobStatus | AggregateVersionStatus


@dataclass(frozen=True, slots=True)
class Done:
    """The object is as its spec wants it. `again`: seconds after which the world is looked at once more; None
    where nothing can change by itself."""

    reason: Reason
    message: str = ""
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """It cannot go on now. What it waits for wakes it: work under way (`on` None), a person's change of the
    object, or the object `on`. `again`: seconds after which to look all the same."""

    reason: Reason
    message: str = ""
    on: ObjectKey | None = None
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Stalled:
    """Only a change from outside helps: of the object itself, or of the object `on`. `again`: seconds after
    which to see whether its cause is gone; None where nothing else can take it away."""

    reason: Reason
    message: str
    on: ObjectKey | None = None
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """It did not succeed and may the next time. `after`: seconds that somebody asked for; None: backoff."""

    reason: Reason
    message: str
    after: float | None = None


Outcome = Done | Waiting | Stalled | Retry


class EventType(StrEnum):
    """As Kubernetes names them."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """Something that whoever is on call wants to see of an object."""

    type: EventType
    reason: str  # one CamelCase word
    message: str


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass over an object gives: its status, with those of its own conditions that the pass decided,
    the outcome, what happened on the way, and whether the object has outlived its purpose (its TTL)."""

    status: AnyStatus
    outcome: Outcome
    events: tuple[ObjectEvent, ...] = ()
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing waits: `first` doubles with each failure up to `longest` seconds."""

    first: float = 1.0
    longest: float = 300.0

    def wait(self, failures: int, part: float) -> float:
        """Seconds before the next try. `part`: a random number, 0 to 1, that spreads it over its second
        half, so that what failed together is not tried together."""
        whole = min(self.longest, self.first * 2.0 ** min(max(failures, 1) - 1, 30))
        return whole * (1 + part) / 2


@dataclass(frozen=True, slots=True)
class Settlement:
    """A pass, ready to be written: once, and then the events."""

    status: AnyStatus
    requeue_after: float | None  # seconds; None: not before something wakes it
    failed: bool  # counts towards the backoff
    events: tuple[ObjectEvent, ...] = field(default=())


_SPREAD = 0.1  # of the seconds that something waits, so that objects do not all come up at once


def settle(
    resource: AnyResource, result: Pass, *, failures: int, part: float, backoff: Backoff, now: Instant
) -> Settlement:
    """Conditions, requeue and events of one pass.

    `failures`: passes in a row, this one included, that ended in Retry. `part`: a random number from 0 to 1.
    observedGeneration moves only with a generation that has settled: one that is done, stalled, or waits for
    a person. Raises ValueError for a reason that the kind's documentation does not list for the outcome.
    """
    outcome = result.outcome
    documented = REASONS[resource.KIND]
    generation = resource.metadata.generation or 0
    conditions: tuple[StatusCondition, ...] = result.status.conditions
    for kind, holds in _standard(outcome, documented):
        if holds is None:
            conditions = without_condition(conditions, kind)
        else:
            conditions = with_condition(
                conditions,
                kind,
                holds,
                outcome.reason,
                outcome.message or outcome.reason.meaning,
                generation=generation,
                now=now,
            )
    moving = condition_of(conditions, ConditionType.RECONCILING) is not None
    observed = resource.status.observedGeneration if moving else generation
    status = result.status.model_copy(update={"conditions": conditions, "observedGeneration": observed})
    return Settlement(
        status,
        _requeue(outcome, failures, part, backoff, _stalled_for(status, now)),
        isinstance(outcome, Retry),
        (*result.events, *_transition(resource, outcome)),
    )


def _standard(
    outcome: Outcome, documented: Mapping[ConditionType, tuple[Reason, ...]]
) -> list[tuple[ConditionType, bool | None]]:
    """The conditions that every outcome decides, and whether each holds; None: it is not there."""
    reason = outcome.reason
    done = isinstance(outcome, Done)
    held = isinstance(outcome, Waiting)
    moving = isinstance(outcome, Waiting | Retry)
    stalled = isinstance(outcome, Stalled)
    wanted = {
        ConditionType.READY: done,
        ConditionType.RECONCILING: True if moving else None,
        ConditionType.STALLED: True if stalled else None,
        ConditionType.SUSPENDED: True if held else None,
        ConditionType.COMPLETE: done,
        ConditionType.FAILED: True if stalled else None,
    }
    if not any(reason in documented.get(kind, ()) for kind, holds in wanted.items() if holds is not None):
        raise ValueError(f"{reason} is not a documented reason of {type(outcome).__name__}")
    return [
        (kind, holds if reason in documented[kind] else None)
        for kind, holds in wanted.items()
        if kind in documented
    ]


def _stalled_for(status: AnyStatus, now: Instant) -> float:
    """Seconds; 0 for what is not stalled."""
    stalled = condition_of(status.conditions, ConditionType.STALLED)
    since = now if stalled is None else parse_instant(stalled.lastTransitionTime)
    return (now.micros - since.micros) / 1_000_000


def _requeue(
    outcome: Outcome, failures: int, part: float, backoff: Backoff, stalled_for: float
) -> float | None:
    if isinstance(outcome, Retry):
        return backoff.wait(failures, part) if outcome.after is None else outcome.after
    if outcome.again is None or isinstance(outcome, Done):
        return outcome.again  # what is at rest is looked at in time, and whoever says when spreads it
    again = outcome.again
    if isinstance(outcome, Stalled):
        # its cause is looked for ever more seldom, since it is as likely to stay as it has stayed
        again = max(again, min(stalled_for, backoff.longest))
    return again * (1 - _SPREAD * part)


def _transition(resource: AnyResource, outcome: Outcome) -> tuple[ObjectEvent, ...]:
    """An event where the object came to another reason than it had."""
    told = (ConditionType.READY, ConditionType.COMPLETE)
    before = next(filter(None, (condition_of(resource.status.conditions, kind) for kind in told)), None)
    if before is not None and before.reason == outcome.reason:
        return ()
    trouble = isinstance(outcome, Stalled | Retry)
    return (
        ObjectEvent(
            EventType.WARNING if trouble else EventType.NORMAL,
            outcome.reason.value,
            outcome.message or outcome.reason.meaning,
        ),
    )
