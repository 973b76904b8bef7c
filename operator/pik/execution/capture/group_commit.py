"""Group commit: what waits shares a segment with others, and is answered when that is durable."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, NoReturn

from pik.domain.errors import NotReady, Overloaded, PikError
from pik.domain.instants import Instant
from pik.execution.capture.answers import Attempt, E
from pik.execution.capture.pressure import Pressure
from pik.execution.capture.settings import CaptureSettings
from pik.ports.system import Clock

log = logging.getLogger(__name__)

_LONGEST_RETRY = 30.0


class Line(Generic[E]):
    """What waits for its turn, counted in events."""

    def __init__(self) -> None:
        self._entries: deque[E] = deque()
        self.events = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def extend(self, entries: Iterable[E]) -> None:
        for entry in entries:
            self._entries.append(entry)
            self.events += entry.events

    def put_back(self, entry: E) -> None:
        """It is the first again."""
        self._entries.appendleft(entry)
        self.events += entry.events

    def take(self) -> E:
        entry = self._entries.popleft()
        self.events -= entry.events
        return entry


class GroupCommit(Generic[E]):
    """The queue of one writer and the commits that are filled from it. `commit`: writes one segment, stamped
    by `stamp`. Belongs to one event loop."""

    def __init__(
        self,
        commit: Callable[[Sequence[E], Instant], Awaitable[Attempt[E]]],
        stamp: Callable[[], Instant],
        clock: Clock,
        settings: CaptureSettings,
    ) -> None:
        self._write: Callable[[Sequence[E], Instant], Awaitable[Attempt[E]]] = commit
        self._stamp = stamp
        self._clock = clock
        self._settings = settings
        self._queue: Line[E] = Line()
        self._stragglers: Line[E] = Line()
        self._straggling = False  # a segment of stragglers is under way
        self._parked: dict[str, list[E]] = {}  # entries about an event of a commit under way
        self._busy: set[str] = set()  # event ids of commits under way
        self._waiting = 0  # events taken and not answered
        self._waiting_bytes = 0
        self._gone = 0  # events that were answered or failed, since they were counted
        self._pressure = Pressure(clock)
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, entries: Sequence[E]) -> None:
        """Each is answered by its request. Raises `Overloaded`: then nothing was taken."""
        self._admit(entries)
        self._queue.extend(entries)
        self._wake()

    def _admit(self, entries: Sequence[E]) -> None:
        size = sum(entry.size for entry in entries)
        events = sum(entry.events for entry in entries)
        full = self._waiting + events > self._settings.max_waiting
        heavy = self._waiting_bytes + size > self._settings.max_waiting_bytes
        # a request larger than the bound is taken when nothing waits: else it could never be
        if self._waiting and (full or heavy):
            self._refuse()
        self.check_wait()
        if not self._waiting:
            self._pressure.begins()
        self._waiting += events
        self._waiting_bytes += size

    def check_wait(self) -> None:
        """Raises `Overloaded` where an event that comes now would have to wait too long: `take` looks too,
        but by then the event has been read."""
        if self._waiting and self._pressure.wait(self._waiting) > self._settings.max_wait:
            self._refuse()

    def _refuse(self) -> NoReturn:
        wait = self._pressure.wait(self._waiting)
        raise Overloaded(f"{self._waiting} events wait to be written", _retry_after(wait))

    @property
    def waiting(self) -> int:
        """Events taken and not answered."""
        return self._waiting

    async def drain(self) -> None:
        """Returns when everything that was taken has been answered."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _wake(self) -> None:
        while len(self._tasks) < self._settings.commits and self._next():
            task = asyncio.get_running_loop().create_task(self._commit())
            self._tasks.add(task)
            task.add_done_callback(self._ended)
            if self._next() is self._queue and self._queue.events <= self._settings.max_rows:
                return  # one task takes all that waits

    def _next(self) -> Line[E]:
        """What the next segment is filled from. Stragglers may wait for other writers: one segment of them
        at a time, so that they do not hold up everything else."""
        return self._stragglers if self._stragglers and not self._straggling else self._queue

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(task.exception(), Exception):
            log.error("a commit failed in a way that was not foreseen", exc_info=task.exception())
        # a cancelled or dying process starts nothing new
        if not task.cancelled() and (task.exception() is None or isinstance(task.exception(), Exception)):
            self._wake()

    async def _commit(self) -> None:
        if self._next() is self._queue and self._queue.events < self._settings.max_rows:
            await self._clock.sleep(self._settings.linger)
        straggling = self._next() is self._stragglers
        batch = self._take()
        if not batch:
            return
        self._straggling |= straggling
        ids = {event_id for entry in batch if (event_id := entry.event_id) is not None}
        self._busy |= ids
        began = self._clock.now().micros
        try:
            attempt = await self._write(batch, self._stamp())
        except Exception as error:
            self._fail(batch, error)
            if not isinstance(error, PikError):
                raise
        else:
            self._settle(attempt)
        finally:
            if straggling:
                self._straggling = False
            self._busy -= ids
            took = (self._clock.now().micros - began) / 1_000_000
            self._pressure.left(self._gone, took / max(1, len(self._tasks)))
            self._gone = 0
            for event_id in ids & self._parked.keys():
                self._queue.extend(self._parked.pop(event_id))

    def _take(self) -> list[E]:
        """The next segment's items: stragglers alone, else what came first, without two commits about one
        event at a time."""
        queue = self._next()
        batch: list[E] = []
        rows, size = self._settings.max_rows, self._settings.max_bytes
        while queue and rows > 0 and size > 0:
            entry, rest = queue.take().cut(rows, size)
            event_id = entry.event_id
            if rest is not None:
                queue.put_back(rest)
            if entry.request.over:  # another part of the request failed
                self._forget(entry)
            elif event_id is not None and event_id in self._busy:
                self._parked.setdefault(event_id, []).append(entry)
            else:
                batch.append(entry)
                rows -= entry.events
                size -= entry.size
        return batch

    def _settle(self, attempt: Attempt[E]) -> None:
        for entry, answers in attempt.answers:
            self._forget(entry)
            entry.answer(answers)
        for entry, error in attempt.failed:
            self._fail([entry], error)
        for entry in attempt.left:
            if entry.turns > self._settings.restarts:
                self._fail([entry], NotReady("the index kept changing; try again later"))
            else:
                (self._stragglers if entry.straggler else self._queue).extend([entry])

    def _fail(self, entries: Sequence[E], error: Exception) -> None:
        for entry in entries:
            self._forget(entry)
            entry.request.fail(error)

    def _forget(self, entry: E) -> None:
        self._gone += entry.events
        self._waiting -= entry.events
        self._waiting_bytes -= entry.size


def _retry_after(wait: float) -> float:
    """Seconds: when half of what waits is gone, there is room for those that came too early."""
    return min(max(1.0, wait / 2), _LONGEST_RETRY)
