"""The narrow protocols that the execution layer needs, and the values that cross them.

Every call may raise `Unavailable` (or `Throttled`): the answer was lost, and whether the call took effect is
unknown. `Denied` means that no retry will help. Adapters translate; nobody above them sees another
library's error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

import msgspec

from pik.domain.arrivals import Row
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry, SegmentHead, SegmentID

P = ParamSpec("P")
T = TypeVar("T")


class Clock(Protocol):
    """Time as a parameter."""

    def now(self) -> Instant:
        """The wall clock, whole microseconds."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Entropy(Protocol):
    """Randomness as a parameter."""

    def hex(self, digits: int) -> str:
        """So many random hex digits."""
        ...


class Offload(Protocol):
    """Runs work of the CPU (Parquet, DuckDB) where it does not hold up the event loop."""

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...


class ObjectInfo(msgspec.Struct, frozen=True):
    key: str
    size: int  # bytes
    etag: str
    last_modified: Instant  # whole seconds


class StoredObject(msgspec.Struct, frozen=True):
    body: bytes
    etag: str
    last_modified: Instant


class ObjectStore(Protocol):
    """One bucket. All calls raise `NoSuchBucket` when it is gone."""

    async def create(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        """PUT with `If-None-Match: *`. Raises `AlreadyExists`."""
        ...

    async def replace(self, key: str, body: bytes, etag: str) -> None:
        """PUT with `If-Match`. Raises `Changed`."""
        ...

    async def read(self, key: str) -> StoredObject:
        """Raises `NoSuchObject`."""
        ...

    async def stat(self, key: str) -> ObjectInfo:
        """Raises `NoSuchObject`."""
        ...

    def list(self, prefix: str, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        """Every object under the prefix with a key after `start_after`, in key order, paged to the end."""
        ...


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
    """One stream's index. All calls raise `NoSuchTable` when the table is gone. Reads are strongly consistent
    but for `by_entity`."""

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
        """Replaces the entry if it still has the segment and generation of `seen`. None if replaced, else what
        is there (which may be ours: an earlier answer was lost)."""
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

    async def acquire(self, lease: str, holder: str, now: Instant, seconds: float) -> bool:
        """Takes or renews a lease: true if it was free, expired at `now`, or already `holder`'s."""
        ...

    async def release(self, lease: str, holder: str) -> None:
        """Gives a lease back if `holder` has it."""
        ...


class SegmentFiles(Protocol):
    """Segments as local files, for engines that read Parquet."""

    async def fetch(self, entries: Sequence[SegmentEntry]) -> list[Path]:
        """A readable file for each entry, in order, whose bytes have the entry's SHA-256.

        Raises `Tampered` (other bytes) and `Incomplete` (the object is gone); both name the object.
        """
        ...


class SegmentCodec(Protocol):
    """A segment's bytes. Deterministic: the same head and rows give the same bytes."""

    def encode(self, head: SegmentHead, rows: Sequence[Row]) -> bytes: ...

    def decode(self, body: bytes) -> tuple[SegmentHead, list[Row]]:
        """Raises `Tampered` where the bytes are not a segment."""
        ...
