"""Segments: immutable objects of arrivals, what is known of each, and which of them count."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from pik.domain.arrivals import Outcome
from pik.domain.instants import Instant

_SEGMENT_ID = re.compile(r"([0-9a-f]{32})\.g([0-9]{8,})")


class SegmentID(msgspec.Struct, frozen=True, order=True, gc=False):
    """A segment's name. `id` is time-ordered (12 hex digits of Unix milliseconds, 20 of entropy);
    `generation` is the index generation under which its writer reserved."""

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    generation: Annotated[int, msgspec.Meta(ge=0)]

    @property
    def stamp_millis(self) -> int:
        return int(self.id[:12], 16)

    def __str__(self) -> str:
        return f"{self.id}.g{self.generation:08d}"


def parse_segment_id(text: str) -> SegmentID:
    """The reverse of `str(SegmentID)`. Raises ValueError."""
    match = _SEGMENT_ID.fullmatch(text)
    if match is None:
        raise ValueError(f"not a segment id: {text!r}")
    return SegmentID(match[1], int(match[2]))


class SegmentHead(msgspec.Struct, frozen=True):
    """What a segment says of itself, in its metadata."""

    stream_id: str
    segment: SegmentID
    ingest_time: Instant  # the stamp: the ingest time of every row


class TimeRange(msgspec.Struct, frozen=True):
    """Both ends belong to it."""

    first: Instant
    last: Instant


class SegmentEntry(msgspec.Struct, frozen=True):
    """A manifest row: all that can be said of a segment from its bytes (and its LastModified)."""

    segment: SegmentID
    key: str
    sha256: str  # of the object's bytes
    bytes: int
    rows: int
    ingest_time: Instant
    known_from: Instant  # ingest_time, or the LastModified of an object that landed long after its stamp
    event_time: TimeRange | None  # of the rows that may be events; None when there are none
    received_time: TimeRange | None
    outcomes: dict[str, int]  # rows by outcome
    sources: tuple[str, ...]  # sorted, of the rows that may be events; at most MAX_LISTED, else empty
    event_types: tuple[str, ...]
    sources_complete: bool
    event_types_complete: bool

    @property
    def events(self) -> int:
        """Rows that are events (ACCEPTED) or may be (RECORDED, before the first-arrival rule)."""
        return self.outcomes.get(Outcome.ACCEPTED, 0) + self.outcomes.get(Outcome.RECORDED, 0)


MAX_LISTED = 32


class GenerationRecord(msgspec.Struct, frozen=True):
    """Bucket object `generations/<n>`: from its creation on, a segment counts if its generation is n or if
    it is in `counting`, the segments of before (design: Write protocol, What counts)."""

    number: int
    nonce: str
    counting: tuple[SegmentID, ...]


def newest_rule(record: GenerationRecord) -> CountingRule:
    """The rule of what counts under the newest generation record."""
    return CountingRule(record.number, frozenset(record.counting))


class CountingRule(msgspec.Struct, frozen=True):
    """Which segments count."""

    generation: int
    earlier: frozenset[SegmentID]

    def counts(self, segment: SegmentID) -> bool:
        return segment.generation == self.generation or segment in self.earlier
