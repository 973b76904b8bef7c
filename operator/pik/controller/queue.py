"""A work queue of keys: each at most once, one worker a key, later ones by time, and none so often that the
others would wait for it."""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass

from pik.controller.objects import ObjectKey
from pik.controller.observers import Nobody, QueueObserver
from pik.ports.system import Clock

_MICROS = 1_000_000
_FEW = 64  # of what is void, which is not worth clearing away


@dataclass(frozen=True, slots=True)
class Spacing:
    """How often one key is handed out: `burst` times in a row, and then once in so many `seconds`. What is
    added meanwhile is one more hand-out, however often it was added."""

    burst: int = 10
    seconds: float = 1.0


class WorkQueue:
    """Keys that are due, in the order in which they came to be, and keys that will be due later.

    A key that is added while a worker has it is handed out again when that worker is done with it. Of several
    times for one key the earliest counts. Belongs to one event loop.
    """

    def __init__(
        self, clock: Clock, observer: QueueObserver | None = None, spacing: Spacing | None = None
    ) -> None:
        self._clock = clock
        self._observer = observer or Nobody()
        self._spaced = _Spaced(spacing or Spacing())
        self._due: OrderedDict[ObjectKey, int] = OrderedDict()  # since when, microseconds since the epoch
        self._later: dict[ObjectKey, int] = {}  # when
        self._times: list[tuple[int, ObjectKey]] = []  # a heap of `_later`, with what has become void in it
        self._held: set[ObjectKey] = set()  # of `_later`: added, and too often
        self._taken: dict[ObjectKey, int] = {}  # since when
        self._again: set[ObjectKey] = set()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._minding: asyncio.Future[None] | None = None  # the waiter that sleeps until the next key is due

    def add(self, key: ObjectKey) -> None:
        """Now."""
        if key in self._taken:
            self._later.pop(key, None)
            self._again.add(key)
            return
        if key in self._due:
            return
        now = self._clock.now().micros
        at = self._spaced.next(key, now)
        if at > now:
            self._held.add(key)
            self._plan(key, at)
            return
        self._held.discard(key)
        self._later.pop(key, None)
        self._due[key] = now
        self._observer.added()
        self._wake_one()

    def add_after(self, key: ObjectKey, seconds: float) -> None:
        """In so many seconds, unless it is due before."""
        at = self._clock.now().micros + round(seconds * _MICROS)
        if key not in self._due and key not in self._again and at < self._later.get(key, at + 1):
            self._plan(key, at)

    def forget(self, key: ObjectKey) -> None:
        """The object is gone: what was planned for it is void."""
        self._due.pop(key, None)
        self._later.pop(key, None)
        self._held.discard(key)
        self._again.discard(key)

    async def take(self) -> ObjectKey:
        """The next key that is due; it is the caller's until `done`."""
        while True:
            self._promote()
            if self._due:
                key, since = self._due.popitem(last=False)
                now = self._clock.now().micros
                self._taken[key] = now
                self._spaced.took(key, now)
                self._observer.taken(max(0, now - since) / _MICROS)
                self._wake_one()  # there may be more, and somebody has to mind the time
                return key
            try:
                await self._wait()
            except asyncio.CancelledError:
                self._wake_one()  # in its place
                raise

    def done(self, key: ObjectKey) -> None:
        """The caller is done with it."""
        self._taken.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def has_due(self) -> bool:
        """Whether `take` would return at once."""
        self._promote()
        return bool(self._due)

    def depth(self) -> int:
        """Keys that are due and that nobody has taken."""
        self._promote()
        return len(self._due)

    def running(self) -> int:
        """Keys that are being worked on."""
        return len(self._taken)

    def longest_running(self) -> float:
        """Seconds since the key that is being worked on for longest was taken; 0 where there is none."""
        now = self._clock.now().micros
        return max(0, now - min(self._taken.values(), default=now)) / _MICROS

    def is_busy(self, key: ObjectKey) -> bool:
        """Whether it was added, and that is not done with yet."""
        self._promote()
        return key in self._due or key in self._taken or key in self._held

    def _plan(self, key: ObjectKey, at: int) -> None:
        self._later[key] = at
        first = self._times[0][0] if self._times else None
        heapq.heappush(self._times, (at, key))
        if len(self._times) > 2 * len(self._later) + _FEW:
            self._times = [(when, planned) for planned, when in self._later.items()]
            heapq.heapify(self._times)
        if first is None:
            self._wake_one()  # nobody minds the time yet
        elif at < first and self._minding is not None and not self._minding.done():
            self._minding.set_result(None)  # it has to get up earlier

    def _promote(self) -> None:
        now = self._clock.now().micros
        while self._times and self._times[0][0] <= now:
            at, key = heapq.heappop(self._times)
            if self._later.get(key) == at:
                del self._later[key]
                self.add(key)

    def _wake_one(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _wait(self) -> None:
        """Until something may be due. One of those who wait sleeps until the next key is; when it leaves, it
        wakes another in its place."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(woken)
        waits = {woken}
        if self._minding is None and self._times:
            self._minding = woken
            seconds = (self._times[0][0] - self._clock.now().micros) / _MICROS
            waits.add(asyncio.ensure_future(self._clock.sleep(max(0.0, seconds))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiters.remove(woken)
            if self._minding is woken:
                self._minding = None
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


class _Spaced:
    """When each key may be handed out next (the generic cell rate algorithm: one number for each)."""

    def __init__(self, spacing: Spacing) -> None:
        self._step = round(spacing.seconds * _MICROS)
        self._slack = (spacing.burst - 1) * self._step
        self._full: dict[ObjectKey, int] = {}  # until when what was handed out weighs, microseconds
        self._clear_at = _FEW

    def next(self, key: ObjectKey, now: int) -> int:
        """Microseconds since the epoch; `now` where it may be handed out at once."""
        return max(now, self._full.get(key, now) - self._slack)

    def took(self, key: ObjectKey, now: int) -> None:
        self._full[key] = max(now, self._full.get(key, now)) + self._step
        if len(self._full) > self._clear_at:
            self._full = {key: until for key, until in self._full.items() if until > now}
            self._clear_at = 2 * len(self._full) + _FEW
