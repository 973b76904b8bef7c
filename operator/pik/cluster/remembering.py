"""Answers of the API server that are asked for once and hold for a while."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pik.cluster.errors import KubeUnavailable
from pik.domain.errors import Overloaded
from pik.domain.instants import Instant
from pik.ports.system import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Holding:
    """Seconds that an answer holds: a `good` one (one that is true), a `bad` one, and a good one while no new
    one can be had (`outage`). `patience`: that is waited for a new one where an old one is at hand."""

    good: float
    bad: float
    outage: float
    patience: float = 1.0


class Remembered(Generic[K, V]):
    """Good answers and bad ones are kept apart, so that a flood of bad ones drives no good one out. Belongs
    to one event loop."""

    def __init__(self, clock: Clock, holding: Holding, *, entries: int = 10_000, asking: int = 64) -> None:
        """`entries`: of each sort. `asking`: questions under way at once."""
        self._clock = clock
        self._holding = holding
        self._entries = entries
        self._asking = asking
        self._good: OrderedDict[K, tuple[V, Instant]] = OrderedDict()
        self._bad: OrderedDict[K, tuple[V, Instant]] = OrderedDict()
        self._under_way: dict[K, asyncio.Task[V]] = {}
        self._failed: Instant | None = None  # when the last question had no answer

    async def get(self, key: K, ask: Callable[[], Awaitable[V]], still: Callable[[V], bool]) -> V:
        """The answer to a question, which is asked where it is not known. `still`: whether a good answer may
        hold by what itself says.

        Raises what `ask` does, and `Overloaded` where too much is being asked.
        """
        good, bad = self._good.get(key), self._bad.get(key)
        if good is not None and self._age(good[1]) <= self._holding.good and still(good[0]):
            self._good.move_to_end(key)
            return good[0]
        if bad is not None and self._age(bad[1]) <= self._holding.bad:
            return bad[0]
        if good is None or self._age(good[1]) > self._holding.outage or not still(good[0]):
            return await asyncio.shield(self._question(key, ask))
        if self._failed is not None and self._age(self._failed) <= self._holding.patience:
            return good[0]
        try:
            async with asyncio.timeout(self._holding.patience):
                return await asyncio.shield(self._question(key, ask))
        except (KubeUnavailable, TimeoutError):
            return good[0]

    def _question(self, key: K, ask: Callable[[], Awaitable[V]]) -> asyncio.Task[V]:
        """One for all who want to know the same at once."""
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= self._asking:
                raise Overloaded("too many callers that are not known yet", retry_after=1.0)
            task = self._under_way[key] = asyncio.create_task(self._ask(key, ask))
            task.add_done_callback(lambda done: self._ended(key, done))
        return task

    async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        answer = await ask()
        good, bad = (self._good, self._bad) if answer else (self._bad, self._good)
        bad.pop(key, None)
        good[key] = (answer, self._clock.now())
        good.move_to_end(key)
        while len(good) > self._entries:
            good.popitem(last=False)
        return answer

    def _ended(self, key: K, done: asyncio.Task[V]) -> None:
        del self._under_way[key]
        if not done.cancelled() and isinstance(done.exception(), KubeUnavailable):
            self._failed = self._clock.now()

    def _age(self, since: Instant) -> float:
        return (self._clock.now().micros - since.micros) / _MICROS
