"""Values for the contract tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from pik.domain.instants import Instant, parse_instant
from pik.domain.layout import Layout, segment_id
from pik.domain.segments import SegmentEntry, SegmentID, TimeRange
from pik.ports.index import Index, Reservation
from pik.ports.objects import ObjectStore

T = TypeVar("T")

NOON = parse_instant("2013-07-10T12:00:00Z")
LAYOUT = Layout("p/", "0" * 32)


@dataclass
class Objects:
    store: ObjectStore
    drop: Callable[[], Awaitable[None]]  # of an empty bucket


@dataclass
class Entries:
    index: Index
    drop: Callable[[], Awaitable[None]]


async def gathered(calls: Iterable[Coroutine[None, None, T]]) -> list[T | BaseException]:
    """All at once; an error is an answer."""
    return await asyncio.gather(*calls, return_exceptions=True)


def segment(number: int, generation: int = 1, at: Instant = NOON) -> SegmentID:
    return segment_id(at, f"{number:020x}", generation)


def reservation(
    name: str,
    of: SegmentID,
    *,
    row: int = 0,
    generation: int | None = None,
    entity: str = "N10156",
    time: str = "2013-07-10T04:00:00Z",
) -> Reservation:
    return Reservation(
        sha256(name.encode()).hexdigest(),
        sha256(f"{name}'s fingerprint".encode()).hexdigest(),
        of,
        row,
        of.generation if generation is None else generation,
        entity,
        parse_instant(time),
    )


def entry(of: SegmentID, rows: int = 3, sources: tuple[str, ...] = ("ü", 'a"b')) -> SegmentEntry:
    stamp = Instant(of.stamp_millis * 1_000 + 7)
    return SegmentEntry(
        of,
        LAYOUT.segment(of),
        sha256(str(of).encode()).hexdigest(),
        1_000,
        rows,
        stamp,
        stamp,
        TimeRange(parse_instant("2013-07-10T04:00:00.1234567Z"), NOON),
        None,
        {"ACCEPTED": rows},
        sources,
        (),
        sources_complete=True,
        event_types_complete=False,
    )
