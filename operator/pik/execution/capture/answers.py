"""What a producer is told about each event."""

from __future__ import annotations

import asyncio
from enum import StrEnum

import msgspec

from pik.domain.arrivals import Arrival, Rejection
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

    def again(self, *, voided: bool) -> Item:
        return msgspec.structs.replace(self, voids=self.voids + voided, turns=self.turns + 1)

    def left_over(self) -> Item:
        return msgspec.structs.replace(self, straggler=True)


class Request(msgspec.Struct, eq=False):
    """What one caller waits for. `over`: it has all answers, or an error. `wake`: what the caller waits on,
    and may have given up: that is no reason to forget what was taken."""

    answers: list[Answer | None]
    missing: int
    wake: asyncio.Future[None]
    over: bool = False

    def answer(self, position: int, answer: Answer) -> None:
        self.answers[position] = answer
        self.missing -= 1
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


class Attempt(msgspec.Struct, frozen=True):
    """What one segment brought: answers, items that must go into a later segment, and those that nobody can
    decide."""

    answers: list[tuple[Item, Answer]]
    left: list[Item]
    failed: list[tuple[Item, PikError]] = []
