"""How fast a run may send: one budget for all of its shards (design: section 3, pace)."""

from __future__ import annotations

import msgspec

from pik.api.capture_stream import ReplayPolicy
from pik.api.replay_job import Pace


class EffectivePace(msgspec.Struct, frozen=True):
    """What binds the run. Both None: as fast as the target takes it."""

    events_per_second: float | None = None
    speed: int | None = None  # event time runs this many times as fast as it did


def effective_pace(policy: ReplayPolicy, pace: Pace | None) -> EffectivePace:
    """The job's pace within the owner's. A job that asks for more events a second than the owner allows is
    refused elsewhere; one that asks for no number, or for a speed, is held to the owner's."""
    asked = None if pace is None else pace.eventsPerSecond
    allowed = [rate for rate in (asked, policy.maxEventsPerSecond) if rate is not None]
    return EffectivePace(min(allowed, default=None), None if pace is None else pace.speed)


def share(pace: EffectivePace, workers: int) -> EffectivePace:
    """One of `workers` equal parts of the budget, for workers that cannot see each other."""
    rate = pace.events_per_second
    return EffectivePace(None if rate is None else rate / workers, pace.speed)
