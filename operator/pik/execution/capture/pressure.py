"""How long what waits is going to wait: by how fast it went lately."""

from __future__ import annotations

from pik.ports.system import Clock

_KEPT = 0.6  # of what was counted before, whenever something is counted
_TELLING = 100  # events: fewer say how fast it goes at least


class Pressure:
    """Counts what leaves a queue, answered or failed, while there is something in it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = 0  # microseconds: when it was counted last, or began to be busy
        self._gone = 0.0  # events, the older the less they weigh
        self._seconds = 0.0  # that they took, weighed alike

    def begins(self) -> None:
        """Something waits, where nothing did."""
        self._since = self._clock.now().micros

    def left(self, events: int, seconds: float) -> None:
        """So many wait no longer, which took so many seconds, or a part of them where others left beside."""
        self._since = self._clock.now().micros
        if events >= _TELLING or events * self._seconds > seconds * self._gone:
            self._gone = self._gone * _KEPT + events
            self._seconds = self._seconds * _KEPT + seconds

    def wait(self, events: int) -> float:
        """Seconds until so many will have left. It grows while nothing leaves; 0 while nothing is known."""
        return events * (self._seconds + self._passed()) / self._gone if self._gone else 0.0

    def _passed(self) -> float:
        return max(0, self._clock.now().micros - self._since) / 1_000_000
