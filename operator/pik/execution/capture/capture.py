"""Capture: concurrent requests share segments, and each is answered when its events are durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pik.domain.arrivals import Arrival, Rejection, size_of
from pik.domain.columns import Columns
from pik.domain.errors import NotReady
from pik.execution.capture.answers import Answer, Item, Parcel, Request, parcel, rejected
from pik.execution.capture.group_commit import GroupCommit
from pik.execution.capture.landing import Landing
from pik.execution.capture.on_read import OnRead
from pik.execution.capture.on_write import OnWrite
from pik.execution.capture.settings import CaptureSettings
from pik.execution.stream import Deduplication, Stream

_Take = Callable[[Columns | Sequence[Arrival], Request, Sequence[int]], None]
"""Arrivals of a request, and which of its answers they stand for."""


class Capture:
    """One writer of one stream. Belongs to one event loop."""

    def __init__(self, stream: Stream, settings: CaptureSettings | None = None) -> None:
        settings = settings or CaptureSettings()
        landing = Landing(stream, settings)
        self._commits: GroupCommit[Item] | GroupCommit[Parcel]
        self._take: _Take
        if stream.deduplication is Deduplication.ON_WRITE:
            items = GroupCommit(
                OnWrite(stream, settings, landing).commit, landing.stamp, stream.clock, settings
            )
            self._commits, self._take = items, lambda *taken: items.take(_items(*taken))
        else:
            parcels = GroupCommit(
                OnRead(stream, settings, landing).commit, landing.stamp, stream.clock, settings
            )
            self._commits, self._take = parcels, lambda *taken: parcels.take([parcel(*taken)])
        self._closed = False

    async def ingest(self, arrivals: Sequence[Arrival | Rejection] | Columns) -> list[Answer]:
        """One answer for each, in order, once all of them are durable.

        Raises `Overloaded` (nothing was taken), `NotReady` and `Unavailable` (some may be durable; sent
        again they are answered DUPLICATE, or as if for the first time). Cancelling the caller does not
        cancel what was taken.
        """
        if self._closed:
            raise NotReady("this writer is shutting down")
        future = asyncio.get_running_loop().create_future()
        if isinstance(arrivals, Columns):
            request = Request([None] * len(arrivals), len(arrivals), future)
            positions: Sequence[int] = range(len(arrivals))
            taken: Columns | Sequence[Arrival] = arrivals
        else:
            answers = [rejected(each) if isinstance(each, Rejection) else None for each in arrivals]
            request = Request(answers, answers.count(None), future)
            positions = [place for place, answer in enumerate(answers) if answer is None]
            taken = [each for each in arrivals if isinstance(each, Arrival)]
        if positions:
            self._take(taken, request, positions)
            await request.wake
        return [answer for answer in request.answers if answer is not None]

    def check_wait(self) -> None:
        """Raises `Overloaded` where an event that comes now would have to wait too long: `ingest` looks too,
        but by then the event has been read."""
        self._commits.check_wait()

    @property
    def waiting(self) -> int:
        """Events taken and not answered."""
        return self._commits.waiting

    async def drain(self) -> None:
        """Returns when everything that was taken has been answered."""
        await self._commits.drain()

    async def close(self) -> None:
        """Takes nothing more and drains."""
        self._closed = True
        await self.drain()


def _items(arrivals: Columns | Sequence[Arrival], request: Request, positions: Sequence[int]) -> list[Item]:
    each = arrivals.arrivals() if isinstance(arrivals, Columns) else arrivals
    return [
        Item(arrival, request, place, size_of(arrival))
        for arrival, place in zip(each, positions, strict=True)
    ]
