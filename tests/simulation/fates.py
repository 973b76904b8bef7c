"""What may happen to a call, and how often."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate


class Fate(Enum):
    """The value says it in a trace: `writer-2 dies before objects.create`."""

    DIES_BEFORE = "dies before"  # no effect
    DIES_DURING = "dies during"  # the effect comes when it is dead
    DIES_AFTER = "dies after"  # the effect was there, nobody heard
    REFUSED = "is refused"  # no effect, and it is told so
    THROTTLED = "is throttled at"  # the same
    LOST = "loses the answer of"  # the effect was there
    OVERTAKEN = "gives up on"  # no answer in time; the effect comes later, perhaps after that of the next try
    REPEATED = "does twice"  # a client library's own second try, which is the one that is answered
    ECHOED = "is echoed at"  # answered once, and carried out once more, later
    PAUSED = "is paused at"  # the whole process stops for a while, and goes on as if nothing had been


@dataclass(frozen=True)
class Faults:
    """Probabilities at each call."""

    crash: float = 0.006  # before, during or after
    refused: float = 0.02  # or throttled
    lost: float = 0.02  # or overtaken
    twice: float = 0.01  # repeated or echoed
    paused: float = 0.002
    stall: float = 0.01  # a very long way there
    slow: float = 0.02  # about as long as many calls take

    def table(self) -> Table:
        return Table(
            {
                Fate.DIES_BEFORE: self.crash / 3,
                Fate.DIES_DURING: self.crash / 3,
                Fate.DIES_AFTER: self.crash / 3,
                Fate.REFUSED: self.refused * 3 / 4,
                Fate.THROTTLED: self.refused / 4,
                Fate.LOST: self.lost * 3 / 4,
                Fate.OVERTAKEN: self.lost / 4,
                Fate.REPEATED: self.twice / 2,
                Fate.ECHOED: self.twice / 2,
                Fate.PAUSED: self.paused,
            }
        )


CALM = Faults(0, 0, 0, 0, 0, 0, 0)


class Table:
    """Fates by a number drawn from [0, 1)."""

    def __init__(self, chances: dict[Fate, float]) -> None:
        self._fates = list(chances)
        self._ends = list(accumulate(chances.values()))
        self._last = self._ends[-1]

    def draw(self, number: float) -> Fate | None:
        """None: the call goes well."""
        return None if number >= self._last else self._fates[bisect(self._ends, number)]
