"""Events by entity and time, for whoever has no event id yet."""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec

from pik.domain.instants import Instant
from pik.domain.segments import parse_segment_id
from pik.domain.windows import Window
from pik.execution.reading.query import query
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.stream import Stream


class FoundEvent(msgspec.Struct, frozen=True):
    event_id: str
    event_time: Instant
    event_time_text: str
    source: str
    event_type: str
    ingest_time: Instant
    key: str  # of the segment's object
    row: int


class FoundEvents(msgspec.Struct, frozen=True):
    """The first of `matching` events by event time."""

    entity_id: str
    matching: int
    events: tuple[FoundEvent, ...]


async def find_events(
    stream: Stream, entity_id: str, window: Window | None = None, limit: int = 100
) -> FoundEvents:
    """An entity's events with an event time in the window, as the stream is now.

    Raises ValueError for a limit below 1, and `Incomplete`, `Tampered`, `NotReady` and `NoSuchTable` where
    not everything could be read.
    """
    if limit < 1:
        raise ValueError("a limit is at least 1")
    snapshot = await take_snapshot(stream, now=stream.clock.now())
    rows = await query(stream, snapshot, lambda con: _find(con, entity_id, window, limit))
    return FoundEvents(
        entity_id, rows[0][-1] if rows else 0, tuple(_event(stream, *row[:-1]) for row in rows)
    )


def _find(
    con: duckdb.DuckDBPyConnection, entity_id: str, window: Window | None, limit: int
) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = con.execute(
        """
        SELECT event_id, epoch_us(event_time), event_time_rest, event_time_text, source, event_type,
            epoch_us(ingest_time), segment, row, count(*) OVER ()
        FROM events
        WHERE entity_id = $entity AND epoch_us(event_time) >= $start AND epoch_us(event_time) < $end
        ORDER BY event_time, event_time_rest, arrival LIMIT $limit
        """,
        {
            "entity": entity_id,
            "start": -(2**63) if window is None else window.start.micros,
            "end": 2**63 - 1 if window is None else window.end.micros,
            "limit": limit,
        },
    ).fetchall()
    return rows


def _event(
    stream: Stream,
    event_id: str,
    micros: int,
    rest: str,
    text: str,
    source: str,
    event_type: str,
    ingested: int,
    segment: str,
    row: int,
) -> FoundEvent:
    key = stream.layout.segment(parse_segment_id(segment))
    return FoundEvent(event_id, Instant(micros, rest), text, source, event_type, Instant(ingested), key, row)
