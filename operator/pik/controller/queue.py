"""A work queue of keys: each at most once, one worker a key, later ones by time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from pik.controller.objects import ObjectKey
from pik.controller.observers import Nobody, QueueObserver
from pik.ports.system import Clock

_MICROS = 1_000_000


class WorkQueue:
    """Keys that are due, in the order in which they came to be, and keys that will be due later.

    A key that is added while a worker has it is handed out again when that worker is done with it. Of several
    times for one key the earliest counts. Belongs to one event loop.
    """

    def __init__(self, clock: Clock, observer: QueueObserver | None = None) -> None:
        self._clock = clock
        self._observer = observer or Nobody()
        self._due: OrderedDict[ObjectKey, int] = OrderedDict()  # since when, microseconds since the epoch
        self._later: dict[ObjectKey, int] = {}  # when
        self._taken: dict[ObjectKey, int] = {}  # since when
        self._again: set[ObjectKey] = set()
        self._waiters: set[asyncio.Future[None]] = set()

    def add(self, key: ObjectKey) -> None:
        """Now."""
        self._later.pop(key, None)
        if key in self._taken:
            self._again.add(key)
        elif key not in self._due:
            self._due[key] = self._clock.now().micros
            self._observer.added()
        self._notify()

    def add_after(self, key: ObjectKey, seconds: float) -> None:
        """In so many seconds, unless it is due before."""
        at = self._clock.now().micros + round(seconds * _MICROS)
        if key not in self._due and key not in self._again:
            self._later[key] = min(at, self._later.get(key, at))
            self._notify()

    def forget(self, key: ObjectKey) -> None:
        """The object is gone: what was planned for it is void."""
        self._due.pop(key, None)
        self._later.pop(key, None)
        self._again.discard(key)

    async def take(self) -> ObjectKey:
        """The next key that is due; it is the caller's until `done`."""
        while True:
            self._promote()
            if self._due:
                key, since = self._due.popitem(last=False)
                now = self._clock.now().micros
                self._taken[key] = now
                self._observer.taken(max(0, now - since) / _MICROS)
                return key
            await self._wait()

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
        """Whether it is due or being worked on."""
        self._promote()
        return key in self._due or key in self._taken

    def _promote(self) -> None:
        now = self._clock.now().micros
        ripe = sorted((at, key) for key, at in self._later.items() if at <= now)
        for _, key in ripe:
            self.add(key)

    def _notify(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self) -> None:
        """Until something changes, or the next key is due."""
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(changed)
        waits = {changed}
        if self._later:
            seconds = (min(self._later.values()) - self._clock.now().micros) / _MICROS
            waits.add(asyncio.ensure_future(self._clock.sleep(max(0.0, seconds))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiters.discard(changed)
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
