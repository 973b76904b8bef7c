"""A segment's manifest row, from its rows or its bytes alone (law 1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256

from pik.domain.arrivals import Outcome, Row
from pik.domain.columns import Columns, recorded
from pik.domain.errors import Tampered
from pik.domain.instants import Instant
from pik.domain.segments import MAX_LISTED, SegmentEntry, SegmentHead, TimeRange
from pik.ports.segments import SegmentCodec

SETTLE = 60.0  # seconds that a segment may land after its stamp and still be known from its stamp

# REPLAYED rows of an OnRead stream may be events too: an unknown id becomes the event.
_MAYBE_EVENTS = (Outcome.ACCEPTED, Outcome.RECORDED, Outcome.REPLAYED)


def describe_segment(
    key: str, body: bytes, codec: SegmentCodec, last_modified: Instant, settle: float = SETTLE
) -> SegmentEntry:
    """The manifest row of a landed segment. Raises `Tampered` where the bytes are not the segment that the
    key names."""
    try:
        head, rows = codec.decode(body)
    except Tampered as error:
        raise Tampered(f"{key}: {error}") from error
    if not key.endswith(f"/{head.segment}.parquet") or f"raw/stream={head.stream_id}/" not in key:
        raise Tampered(f"{key}: says that it is segment {head.segment} of stream {head.stream_id}")
    return describe_rows(
        head,
        rows,
        key=key,
        sha256=sha256(body).hexdigest(),
        size=len(body),
        known_from=known_from(head.ingest_time, last_modified, settle),
    )


def describe_rows(
    head: SegmentHead, rows: Sequence[Row], *, key: str, sha256: str, size: int, known_from: Instant
) -> SegmentEntry:
    """The manifest row of a segment whose rows are at hand. `size` in bytes."""
    arrivals = [row.arrival for row in rows if row.outcome in _MAYBE_EVENTS]
    return _entry(
        head,
        key,
        sha256,
        size,
        known_from,
        event_time=_range(arrival.event_time for arrival in arrivals),
        received=[arrival.received_time for arrival in arrivals],
        outcomes=[row.outcome.value for row in rows],
        sources={arrival.source for arrival in arrivals},
        event_types={arrival.event_type for arrival in arrivals},
    )


def describe_columns(
    head: SegmentHead, arrivals: Columns, *, key: str, sha256: str, size: int, known_from: Instant
) -> SegmentEntry:
    """The same of a segment in which nothing was decided: all of it may be events."""
    return _entry(
        head,
        key,
        sha256,
        size,
        known_from,
        event_time=_range_of(arrivals.event_micros, arrivals.event_rest),
        received=arrivals.received_time,
        outcomes=recorded(arrivals),
        sources=set(arrivals.source),
        event_types=set(arrivals.event_type),
    )


def _entry(
    head: SegmentHead,
    key: str,
    sha256: str,
    size: int,
    known_from: Instant,
    *,
    event_time: TimeRange | None,
    received: Iterable[Instant | None],
    outcomes: Sequence[str],
    sources: set[str],
    event_types: set[str],
) -> SegmentEntry:
    return SegmentEntry(
        segment=head.segment,
        key=key,
        sha256=sha256,
        bytes=size,
        rows=len(outcomes),
        ingest_time=head.ingest_time,
        known_from=known_from,
        event_time=event_time,
        received_time=_range(time for time in received if time is not None),
        outcomes=dict(sorted(Counter(outcomes).items())),
        sources=tuple(sorted(sources)) if len(sources) <= MAX_LISTED else (),
        event_types=tuple(sorted(event_types)) if len(event_types) <= MAX_LISTED else (),
        sources_complete=len(sources) <= MAX_LISTED,
        event_types_complete=len(event_types) <= MAX_LISTED,
    )


def known_from(ingest_time: Instant, last_modified: Instant, settle: float) -> Instant:
    """From when on a segment is known: its stamp, or its LastModified if it landed long after its stamp."""
    landed_late = last_modified.micros - ingest_time.micros > settle * 1_000_000
    return last_modified if landed_late else ingest_time


def _range(instants: Iterable[Instant]) -> TimeRange | None:
    ordered = list(instants)
    return TimeRange(min(ordered), max(ordered)) if ordered else None


def _range_of(micros: Sequence[int], rests: Sequence[str]) -> TimeRange | None:
    """The same of instants in two columns."""
    if not micros:
        return None
    first, last = min(micros), max(micros)
    return TimeRange(
        Instant(first, min(rest for micro, rest in zip(micros, rests, strict=True) if micro == first)),
        Instant(last, max(rest for micro, rest in zip(micros, rests, strict=True) if micro == last)),
    )
