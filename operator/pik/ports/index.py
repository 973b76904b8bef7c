"""The index as the work sees it: reservations, the manifest, the generation that fences both, leases, and
marks of how far runs are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry, SegmentID


class GenerationState(msgspec.Struct, frozen=True):
    """The generation item of the index: which generation it holds, and whether it is whole."""

    number: int
    nonce: str
    ready: bool


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """An index entry of an event: which arrival it is, if that segment lands with it (law 1). `generation` is
    the index generation of the entry; after a reindex it is newer than the segment's own."""

    event_id: str
    fingerprint: str
    segment: SegmentID
    row: int
    generation: int
    entity_id: str
    event_time: Instant


class Index(Protocol):
    """One stream's index. All calls raise `NoSuchTable` when the table is gone, and those that read entries
    and manifest rows `Tampered` for what was never written so. Reads are strongly consistent but for
    `by_entity`."""

    async def generation(self) -> GenerationState | None: ...

    async def fence(self, number: int, nonce: str) -> None:
        """Makes the generation item {number, building, nonce} if it is absent, lower, or {number, building}.
        Raises `Fenced`."""
        ...

    async def set_ready(self, number: int, nonce: str) -> None:
        """{number, building, nonce} becomes ready; if it is ready already, fine. Raises `Fenced`."""
        ...

    async def reserve(self, wanted: Sequence[Reservation]) -> list[Reservation | None]:
        """Puts each if absent, independently. For each: None where it was put, else what is there (which may
        be ours: an earlier answer was lost). No event id twice in one call."""
        ...

    async def take_over(self, reservation: Reservation, seen: Reservation) -> Reservation | None:
        """Replaces the entry if it still has the segment and generation of `seen`, or puts it if it is gone
        (expired). None if it was put, else what is there (which may be ours: an earlier answer was lost)."""
        ...

    async def put_winners(self, winners: Sequence[Reservation]) -> None:
        """Reindex: puts each where absent or where what is there has an older generation. Idempotent."""
        ...

    async def put_segment(self, entry: SegmentEntry, generation: int) -> None:
        """The manifest row, if the generation item is {generation, ready}. Idempotent. Raises `Fenced`."""
        ...

    async def rebuild_segment(self, entry: SegmentEntry, generation: int, nonce: str) -> None:
        """Reindex: the manifest row, if the generation item is {generation, building, nonce}. Idempotent.
        Raises `Fenced`."""
        ...

    def segments(self, since: Instant | None = None) -> AsyncIterator[SegmentEntry]:
        """The manifest rows in order of their ids, from the hour of `since` on, paged to the end."""
        ...

    def by_entity(
        self, entity_id: str, start: Instant | None, end: Instant | None
    ) -> AsyncIterator[Reservation]:
        """An entity's events by event time within [start, end). Eventually consistent."""
        ...

    def entries(self) -> AsyncIterator[Reservation]:
        """Every event's entry, in no order, paged to the end: the whole table is read."""
        ...

    async def acquire(self, lease: str, holder: str, now: Instant, seconds: float) -> bool:
        """Takes or renews a lease: true if it was free, expired at `now`, or already `holder`'s."""
        ...

    async def release(self, lease: str, holder: str) -> None:
        """Gives a lease back if `holder` has it."""
        ...

    async def put_mark(self, run: str, part: int, number: int, text: str) -> None:
        """How far a part of a run is, for whoever shows it; what counts lies in the bucket. Replaces a mark
        of a lower number, and does nothing where there is one of this or a higher number."""
        ...

    async def marks(self, run: str) -> dict[int, str]:
        """The text of each part's mark: of all parts that have one, in one reading."""
        ...

    async def drop_marks(self, run: str) -> None:
        """Nobody looks at them any more. Idempotent."""
        ...
