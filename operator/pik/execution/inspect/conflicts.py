"""Conflicts: arrivals under a known id that say something else, and what exactly they say."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import msgspec

from pik.api.replay_job import TimeField
from pik.domain.differences import Difference, payload_differences
from pik.domain.instants import Instant
from pik.domain.windows import Window
from pik.execution.inspect.repeats import in_batches, open_repeats
from pik.execution.inspect.report import Report
from pik.execution.inspect.terms import LIMIT, at_least_one, instant, within
from pik.execution.reading.query import query
from pik.execution.reading.snapshot import Snapshot
from pik.execution.stream import Stream


class ConflictOptions(msgspec.Struct, frozen=True):
    """Raises ValueError for a limit below 1."""

    field: TimeField = TimeField.EVENT_TIME
    limit: int = LIMIT

    def __post_init__(self) -> None:
        at_least_one(self.limit)


class Conflict(msgspec.Struct, frozen=True):
    """`differences` are of the envelope (`event_type`, `entity_id`, `event_time`) and the payload, the
    event's value first, without what the stream's fingerprint leaves out."""

    event_id: str
    source: str
    entity_id: str
    idempotency_key: str | None
    event_time: Instant
    differences: tuple[Difference, ...]
    segment: str  # where the conflicting arrival lies
    row: int
    ingest_time: Instant
    event_segment: str | None  # where the event lies; None where it is not in the snapshot
    event_row: int | None
    event_ingest_time: Instant | None


class SourceConflicts(msgspec.Struct, frozen=True):
    source: str
    conflicts: int
    events: int


class PathConflicts(msgspec.Struct, frozen=True):
    """In how many conflicts this path differs."""

    path: str
    conflicts: int


class ConflictReport(Report, frozen=True):
    """A window asks for the conflicting arrivals in it; the event may lie outside."""

    conflicts_found: int
    events_in_conflict: int
    uncompared: int  # their event is not in the snapshot
    conflicts: tuple[Conflict, ...]  # in order of arrival
    paths: tuple[PathConflicts, ...]  # the most frequent first
    sources: tuple[SourceConflicts, ...]  # all, the most conflicts first


_NOWHERE = (None, None, None)
_ENVELOPE = ("event_type", "entity_id", "event_time")


async def conflicts(
    stream: Stream, snapshot: Snapshot, window: Window | None, options: ConflictOptions
) -> ConflictReport:
    """Raises what `query` does."""
    return await query(stream, snapshot, lambda con: _conflicts(con, stream, window, options))


def _conflicts(
    con: duckdb.DuckDBPyConnection, stream: Stream, window: Window | None, options: ConflictOptions
) -> ConflictReport:
    open_repeats(con, stream)
    con.execute(
        f"""
        CREATE TABLE conflicts AS
        SELECT arrival, first, source, event_id FROM arrivals JOIN repeats USING (arrival)
        WHERE conflict AND {within(window, options.field)}
        """  # noqa: S608
    )
    found, events, uncompared = con.execute(
        "SELECT count(*), count(DISTINCT event_id), count(*) FILTER (first IS NULL) FROM conflicts"
    ).fetchall()[0]
    listed, paths = _compared(con, stream.fingerprint_exclude, options.limit)
    sources = con.execute(
        """
        SELECT source, count(*) AS found, count(DISTINCT event_id)
        FROM conflicts GROUP BY source ORDER BY found DESC, source
        """
    ).fetchall()
    return ConflictReport(
        conflicts_found=found,
        events_in_conflict=events,
        uncompared=uncompared,
        conflicts=listed,
        paths=paths,
        sources=tuple(SourceConflicts(*row) for row in sources),
    )


def _compared(
    con: duckdb.DuckDBPyConnection, exclude: tuple[str, ...], limit: int
) -> tuple[tuple[Conflict, ...], tuple[PathConflicts, ...]]:
    """The first conflicts, and the paths in which all of them differ."""
    side = """
        {0}.event_type, {0}.entity_id, epoch_us({0}.event_time), {0}.event_time_rest, {0}.data,
        {0}.segment, {0}.row, epoch_us({0}.ingest_time)
    """
    pairs = in_batches(
        con,
        f"""
        SELECT this.event_id, this.source, this.idempotency_key, {side.format("this")}, {side.format("event")}
        FROM conflicts
        JOIN arrivals AS this ON this.arrival = conflicts.arrival
        LEFT JOIN arrivals AS event ON event.arrival = conflicts.first
        ORDER BY conflicts.arrival
        """,  # noqa: S608
    )
    listed: list[Conflict] = []
    paths: Counter[str] = Counter()
    for event_id, source, key, *sides in pairs:
        this, event = _Side(*sides[:8]), _Side(*sides[8:]) if sides[13] is not None else None
        differences = () if event is None else _differences(event, this, exclude)
        paths.update(difference.path for difference in differences)
        if len(listed) < limit:
            listed.append(
                Conflict(
                    event_id,
                    source,
                    this.entity_id,
                    key,
                    instant(this.event_micros, this.event_rest),
                    differences,
                    *this.place,
                    *(_NOWHERE if event is None else event.place),
                )
            )
    frequent = sorted(paths.items(), key=lambda item: (-item[1], item[0]))[:limit]
    return tuple(listed), tuple(PathConflicts(path, number) for path, number in frequent)


class _Side(msgspec.Struct, frozen=True):
    """One of the two arrivals."""

    event_type: str
    entity_id: str
    event_micros: int
    event_rest: str
    data: str
    segment: str
    row: int
    ingest_micros: int

    @property
    def place(self) -> tuple[str, int, Instant]:
        return self.segment, self.row, instant(self.ingest_micros)

    @property
    def envelope(self) -> tuple[Any, ...]:
        return self.event_type, self.entity_id, instant(self.event_micros, self.event_rest).exact_text


def _differences(event: _Side, this: _Side, exclude: tuple[str, ...]) -> tuple[Difference, ...]:
    envelope = [
        Difference(name, first, other)
        for name, first, other in zip(_ENVELOPE, event.envelope, this.envelope, strict=True)
        if first != other
    ]
    return (*envelope, *payload_differences(event.data.encode(), this.data.encode(), exclude))
