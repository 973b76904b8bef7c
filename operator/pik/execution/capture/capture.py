"""Group commit: concurrent requests share a segment, and each is answered when its events are durable."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import NoReturn

from pik.domain.arrivals import Arrival, Rejection, size_of
from pik.domain.errors import NotReady, Overloaded, PikError
from pik.execution.capture.answers import Answer, Attempt, Item, Request, rejected
from pik.execution.capture.landing import Landing
from pik.execution.capture.on_read import OnRead
from pik.execution.capture.on_write import OnWrite
from pik.execution.capture.pressure import Pressure
from pik.execution.capture.settings import CaptureSettings
from pik.execution.stream import Deduplication, Stream

log = logging.getLogger(__name__)

_LONGEST_RETRY = 30.0


class Capture:
    """One writer of one stream. Belongs to one event loop."""

    def __init__(self, stream: Stream, settings: CaptureSettings | None = None) -> None:
        self._stream = stream
        self._settings = settings or CaptureSettings()
        self._landing = Landing(stream, self._settings)
        self._protocol = (
            OnWrite(stream, self._settings, self._landing)
            if stream.deduplication is Deduplication.ON_WRITE
            else OnRead(stream, self._settings, self._landing)
        )
        self._decides = stream.deduplication is Deduplication.ON_WRITE
        self._queue: deque[Item] = deque()
        self._stragglers: deque[Item] = deque()
        self._straggling = False  # a segment of stragglers is under way
        self._parked: dict[str, list[Item]] = {}  # items about an event of a commit under way
        self._busy: set[str] = set()  # event ids of commits under way
        self._waiting = 0  # events taken and not answered
        self._waiting_bytes = 0
        self._gone = 0  # events that were answered or failed, since they were counted
        self._pressure = Pressure(stream.clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def ingest(self, arrivals: Sequence[Arrival | Rejection]) -> list[Answer]:
        """One answer for each, in order, once all of them are durable.

        Raises `Overloaded` (nothing was taken), `NotReady` and `Unavailable` (some may be durable; sent
        again they are answered DUPLICATE, or as if for the first time). Cancelling the caller does not
        cancel what was taken.
        """
        if self._closed:
            raise NotReady("this writer is shutting down")
        answers = [rejected(a) if isinstance(a, Rejection) else None for a in arrivals]
        request = Request(answers, answers.count(None), asyncio.get_running_loop().create_future())
        items = [
            Item(arrival, request, position, size_of(arrival))
            for position, arrival in enumerate(arrivals)
            if isinstance(arrival, Arrival)
        ]
        if items:
            self._admit(items)
            self._queue.extend(items)
            self._wake()
            await request.wake
        return [answer for answer in request.answers if answer is not None]

    def _admit(self, items: list[Item]) -> None:
        size = sum(item.size for item in items)
        full = self._waiting + len(items) > self._settings.max_waiting
        heavy = self._waiting_bytes + size > self._settings.max_waiting_bytes
        # a request larger than the bound is taken when nothing waits: else it could never be
        if self._waiting and (full or heavy):
            self._refuse()
        self.check_wait()
        if not self._waiting:
            self._pressure.begins()
        self._waiting += len(items)
        self._waiting_bytes += size

    def check_wait(self) -> None:
        """Raises `Overloaded` where an event that comes now would have to wait too long: `ingest` looks too,
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

    async def close(self) -> None:
        """Takes nothing more and drains."""
        self._closed = True
        await self.drain()

    def _wake(self) -> None:
        while len(self._tasks) < self._settings.commits and self._next():
            task = asyncio.get_running_loop().create_task(self._commit())
            self._tasks.add(task)
            task.add_done_callback(self._ended)
            if self._next() is self._queue and len(self._queue) <= self._settings.max_rows:
                return  # one task takes all that waits

    def _next(self) -> deque[Item]:
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
        if self._next() is self._queue and len(self._queue) < self._settings.max_rows:
            await self._stream.clock.sleep(self._settings.linger)
        straggling = self._next() is self._stragglers
        batch = self._take()
        if not batch:
            return
        self._straggling |= straggling
        ids = {item.arrival.event_id for item in batch} if self._decides else set()
        self._busy |= ids
        began = self._stream.clock.now().micros
        try:
            attempt = await self._protocol.commit(batch, self._landing.stamp())
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
            took = (self._stream.clock.now().micros - began) / 1_000_000
            self._pressure.left(self._gone, took / max(1, len(self._tasks)))
            self._gone = 0
            for event_id in ids & self._parked.keys():
                self._queue.extend(self._parked.pop(event_id))

    def _take(self) -> list[Item]:
        """The next segment's items: stragglers alone, else what came first, without two commits about one
        event at a time."""
        queue = self._next()
        batch: list[Item] = []
        size = 0
        while queue and len(batch) < self._settings.max_rows and size < self._settings.max_bytes:
            item = queue.popleft()
            if item.request.over:  # another part of the request failed
                self._forget(item)
            elif item.arrival.event_id in self._busy:
                self._parked.setdefault(item.arrival.event_id, []).append(item)
            else:
                batch.append(item)
                size += item.size
        return batch

    def _settle(self, attempt: Attempt) -> None:
        for item, answer in attempt.answers:
            self._forget(item)
            item.request.answer(item.position, answer)
        for item, error in attempt.failed:
            self._fail([item], error)
        for item in attempt.left:
            if item.turns > self._settings.restarts:
                self._fail([item], NotReady("the index kept changing; try again later"))
            else:
                (self._stragglers if item.straggler else self._queue).append(item)

    def _fail(self, items: Sequence[Item], error: Exception) -> None:
        for item in items:
            self._forget(item)
            item.request.fail(error)

    def _forget(self, item: Item) -> None:
        self._gone += 1
        self._waiting -= 1
        self._waiting_bytes -= item.size


def _retry_after(wait: float) -> float:
    """Seconds: when half of what waits is gone, there is room for those that came too early."""
    return min(max(1.0, wait / 2), _LONGEST_RETRY)
