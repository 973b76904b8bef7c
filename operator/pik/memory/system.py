"""Time, randomness and CPU work that a test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import ParamSpec, TypeVar

from pik.domain.instants import Instant

P = ParamSpec("P")
T = TypeVar("T")


class ManualClock:
    """Time that passes only by `advance` and by sleeping: the earliest of the sleepers wakes at once, and
    the clock is then at its time. So sleeps overlap as real ones do, and none takes any time."""

    def __init__(self, now: Instant) -> None:
        self._micros = now.micros
        self._wakes: list[int] = []

    def now(self) -> Instant:
        return Instant(self._micros)

    def advance(self, seconds: float) -> None:
        self._micros += round(seconds * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        wake = self._micros + max(0, round(seconds * 1_000_000))
        self._wakes.append(wake)
        try:
            await asyncio.sleep(0)
            while min(self._wakes) < wake:  # noqa: ASYNC110 - the others' wakes are the event
                await asyncio.sleep(0)
            self._micros = max(self._micros, wake)
        finally:
            self._wakes.remove(wake)


class SeededEntropy:
    """The same digits for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - repeatable is the point

    def hex(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits):0{digits}x}"


class InlineOffload:
    """`ports.Offload` on the event loop itself."""

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return work(*args, **kwargs)
