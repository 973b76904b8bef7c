"""Capture: concurrent requests share segments, and each is answered when its events are durable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

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


class Capture:
    """One writer of one stream. Belongs to one event loop."""

    def __init__(self, stream: Stream, settings: CaptureSettings | None = None) -> None:
        settings = settings or CaptureSettings()
        landing = Landing(stream, settings)
        on_write, on_read = OnWrite(stream, settings, landing), OnRead(stream, settings, landing)
        self._decides = stream.deduplication is Deduplication.ON_WRITE
        self._items = GroupCommit(on_write.commit, landing.stamp, stream.clock, settings)
        self._parcels = GroupCommit(on_read.commit, landing.stamp, stream.clock, settings)
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

    def _take(
        self, arrivals: Sequence[Arrival] | Columns, request: Request, positions: Sequence[int]
    ) -> None:
        if self._decides:
            each = arrivals.arrivals() if isinstance(arrivals, Columns) else arrivals
            self._items.take(
                [
                    Item(arrival, request, place, size_of(arrival))
                    for arrival, place in zip(each, positions, strict=True)
                ]
            )
        else:
            self._parcels.take([parcel(arrivals, request, positions)])

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

    @property
    def _commits(self) -> GroupCommit[Item] | GroupCommit[Parcel]:
        return self._items if self._decides else self._parcels
