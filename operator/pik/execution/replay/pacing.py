"""The run's pace: one budget that the shards of a process share."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pik.planning.replay.pace import EffectivePace
from pik.ports.system import Clock

if TYPE_CHECKING:
    import pyarrow as pa

_SECOND = 1_000_000  # in microseconds
_SPEED_SECONDS = 1.0  # at a speed, events that are due within this go together, none of them early


class Pacer:
    """Says how long to wait. Time that nobody used is not saved up: after a pause there is no burst."""

    def __init__(self, clock: Clock, pace: EffectivePace) -> None:
        self._clock = clock
        self._pace = pace
        self._free = 0  # when the next event may go, in microseconds
        self._recent: deque[tuple[int, int]] = deque()  # what went in the last second: when, how many
        self._taken = 0  # events in it
        self._anchor: tuple[int, int] | None = None  # the same moment on the wall and in event time

    def horizon(self, event_times: pa.Int64Array, seconds: float) -> int:
        """How many of the next events, at least 1 if there are any, can be sent within `seconds`.
        `event_times`: theirs, in microseconds."""
        count = len(event_times)
        if self._pace.events_per_second is not None:
            count = min(count, max(1, int(self._pace.events_per_second * seconds)))
        if self._pace.speed is not None and count:
            times = event_times.slice(0, count).to_pylist()
            last = times[0] + _SPEED_SECONDS * _SECOND * self._pace.speed
            late = (n for n, time in enumerate(times) if n and time > last)
            count = next(late, count)
        return count

    def due_in(self, event_times: pa.Int64Array) -> float:
        """Seconds until all of these are due at the run's speed; the first that was asked for are at once."""
        if self._pace.speed is None or len(event_times) == 0:
            return 0.0
        now = self._clock.now().micros
        if self._anchor is None:
            self._anchor = (now, event_times[0].as_py())
        wall, event = self._anchor
        due: float = wall + (max(event_times.to_pylist()) - event) / self._pace.speed
        return max(0.0, (due - now) / _SECOND)

    @property
    def batch(self) -> int | None:
        """Most events of one call, so that no second has more than its share."""
        rate = self._pace.events_per_second
        return None if rate is None else max(1, int(rate))

    def take(self, events: int) -> float:
        """Takes so many events from the budget; seconds to wait before they are sent. They are spread evenly,
        and no span of a second has more of them than the rate."""
        rate = self._pace.events_per_second
        if rate is None:
            return 0.0
        now = self._clock.now().micros
        at = max(now, self._free)
        while self._recent and (self._recent[0][0] + _SECOND <= at or self._taken + events > rate):
            time, count = self._recent.popleft()
            self._taken -= count
            at = max(at, time + _SECOND)
        self._recent.append((at, events))
        self._taken += events
        self._free = at + round(events * _SECOND / rate)
        return (at - now) / _SECOND
