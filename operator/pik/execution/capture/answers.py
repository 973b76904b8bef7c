"""What a producer is told about each event."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import islice
from typing import Generic, TypeVar

import msgspec

from pik.domain.arrivals import Arrival, Rejection, size_of
from pik.domain.columns import Columns
from pik.domain.errors import PikError


class Status(StrEnum):
    """ACCEPTED: the event, durable (`OnWrite`). RECORDED: durable, the first-arrival rule is applied when the
    stream is read (`OnRead`). DUPLICATE: known with the same content, kept as evidence. CONFLICT: the key is
    known with another content, kept as evidence, never replayed as the event. REPLAYED: came from a replay of
    pik and is known. REJECTED: not an event, nothing was stored."""

    ACCEPTED = "ACCEPTED"
    RECORDED = "RECORDED"
    DUPLICATE = "DUPLICATE"
    CONFLICT = "CONFLICT"
    REPLAYED = "REPLAYED"
    REJECTED = "REJECTED"


class Answer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One answer. `s3_key` and `row` say where this arrival lies; `winner` is the key of the segment that
    holds the event, where that is another one."""

    status: Status
    event_id: str | None = None
    ingest_lag_ms: int | None = None  # ingest time minus event time
    s3_key: str | None = None
    row: int | None = None
    winner: str | None = None
    reason: str | None = None
    message: str | None = None


def rejected(rejection: Rejection) -> Answer:
    return Answer(Status.REJECTED, reason=rejection.reason, message=rejection.message)


class Item(msgspec.Struct, eq=False):
    """An arrival on its way to its answer. The collector sees it: it is part of a circle where its request
    fails."""

    arrival: Arrival
    request: Request
    position: int
    size: int  # bytes, as `size_of` counts them
    voids: int = 0  # segments of its that others voided
    turns: int = 0  # times it started again
    straggler: bool = False  # left over by a segment: goes into one that holds nothing else

    @property
    def events(self) -> int:
        return 1

    @property
    def event_id(self) -> str | None:
        """Of which no two segments may decide at once."""
        return self.arrival.event_id

    def again(self, *, voided: bool) -> Item:
        return msgspec.structs.replace(self, voids=self.voids + voided, turns=self.turns + 1)

    def left_over(self) -> Item:
        return msgspec.structs.replace(self, straggler=True)

    def cut(self, _rows: int, _size: int) -> tuple[Item, Item | None]:
        """It is one event, which cannot be less."""
        return self, None

    def answer(self, answers: Sequence[Answer]) -> None:
        self.request.answer((self.position,), answers)


class Parcel(msgspec.Struct, eq=False):
    """Arrivals of one request of which nothing has to be decided, on their way to their answers."""

    arrivals: Columns | Sequence[Arrival]
    request: Request
    positions: Sequence[int]
    size: int  # bytes
    turns: int = 0  # times it started again

    @property
    def events(self) -> int:
        return len(self.arrivals)

    @property
    def event_id(self) -> str | None:
        return None

    @property
    def straggler(self) -> bool:
        return False

    def again(self) -> Parcel:
        return msgspec.structs.replace(self, turns=self.turns + 1)

    def cut(self, rows: int, size: int) -> tuple[Parcel, Parcel | None]:
        """The first of it, at least one event and no more than so many rows and, all but the last, bytes;
        and the rest, if there is any."""
        if self.events <= rows and self.size <= size:
            return self, None
        end, taken = 0, 0
        for each in islice(_sizes(self.arrivals), rows):
            if taken >= size:
                break
            taken += each
            end += 1
        if end == self.events:
            return self, None
        return self._part(0, end, taken), self._part(end, self.events, self.size - taken)

    def answer(self, answers: Sequence[Answer]) -> None:
        self.request.answer(self.positions, answers)

    def _part(self, start: int, end: int, size: int) -> Parcel:
        return msgspec.structs.replace(
            self,
            arrivals=_part(self.arrivals, start, end),
            positions=self.positions[start:end],
            size=size,
        )


def parcel(arrivals: Columns | Sequence[Arrival], request: Request, positions: Sequence[int]) -> Parcel:
    return Parcel(arrivals, request, positions, _size(arrivals))


def _size(arrivals: Columns | Sequence[Arrival]) -> int:
    return arrivals.size if isinstance(arrivals, Columns) else sum(map(size_of, arrivals))


def _sizes(arrivals: Columns | Sequence[Arrival]) -> Iterator[int]:
    return arrivals.sizes() if isinstance(arrivals, Columns) else map(size_of, arrivals)


def _part(arrivals: Columns | Sequence[Arrival], start: int, end: int) -> Columns | Sequence[Arrival]:
    return arrivals.part(start, end) if isinstance(arrivals, Columns) else arrivals[start:end]


class Request(msgspec.Struct, eq=False):
    """What one caller waits for. `over`: it has all answers, or an error. `wake`: what the caller waits on,
    and may have given up: that is no reason to forget what was taken."""

    answers: list[Answer | None]
    missing: int
    wake: asyncio.Future[None]
    over: bool = False

    def answer(self, positions: Sequence[int], answers: Sequence[Answer]) -> None:
        if len(positions) != len(answers):
            raise ValueError(f"{len(answers)} answers to {len(positions)} events")
        if isinstance(positions, range):
            self.answers[positions.start : positions.stop] = answers
        else:
            for position, answer in zip(positions, answers, strict=True):
                self.answers[position] = answer
        self.missing -= len(positions)
        if self.missing == 0 and not self.over:
            self.over = True
            if not self.wake.done():
                self.wake.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.over:
            self.over = True
            if not self.wake.done():
                self.wake.set_exception(error)
                self.wake.exception()  # the caller may be gone: then nobody else retrieves it


E = TypeVar("E", Item, Parcel)
"""What waits in one queue, and goes into one segment with others."""


class Attempt(msgspec.Struct, Generic[E], frozen=True):
    """What one segment brought: answers, entries that must go into a later segment, and those that nobody
    can decide."""

    answers: list[tuple[E, Sequence[Answer]]]
    left: list[E]
    failed: list[tuple[E, PikError]] = []
