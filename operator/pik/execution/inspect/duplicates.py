"""Duplicates: arrivals that repeat a known event, by source, by event, and as storms of retries."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import msgspec

from pik.api.replay_job import TimeField
from pik.domain.instants import Instant
from pik.domain.windows import Window
from pik.execution.inspect.repeats import open_repeats
from pik.execution.inspect.report import Report
from pik.execution.inspect.terms import LIMIT, at_least_one, instant, micros, share, within
from pik.execution.reading.query import query
from pik.execution.reading.snapshot import Snapshot
from pik.execution.stream import Stream


class DuplicateOptions(msgspec.Struct, frozen=True):
    """A storm: at least `storm` duplicates of one source, none of them ingested `calm` or more after the one
    before it. Raises ValueError for a limit or a storm below 1."""

    field: TimeField = TimeField.EVENT_TIME
    calm: timedelta = timedelta(minutes=1)
    storm: int = 10
    limit: int = LIMIT

    def __post_init__(self) -> None:
        at_least_one(self.limit)
        at_least_one(self.storm)


class SourceDuplicates(msgspec.Struct, frozen=True):
    source: str
    arrivals: int
    duplicates: int
    share: float
    events_repeated: int


class RepeatedEvent(msgspec.Struct, frozen=True):
    event_id: str
    source: str
    entity_id: str
    duplicates: int
    first_ingest: Instant | None  # of the event; None where it is not in the snapshot
    last_ingest: Instant  # of its last duplicate


class Storm(msgspec.Struct, frozen=True):
    source: str
    start: Instant  # ingest times
    end: Instant
    duplicates: int
    events: int


class DuplicateReport(Report, frozen=True):
    """What came from a replay is neither counted as an arrival nor as a duplicate."""

    arrivals: int
    duplicates: int
    share: float
    events_repeated: int
    storms_found: int
    sources: tuple[SourceDuplicates, ...]  # all, the most duplicates first
    storms: tuple[Storm, ...]  # the largest first
    events: tuple[RepeatedEvent, ...]  # the most repeated first


async def duplicates(
    stream: Stream, snapshot: Snapshot, window: Window | None, options: DuplicateOptions
) -> DuplicateReport:
    """Raises what `query` does."""
    return await query(stream, snapshot, lambda con: _duplicates(con, stream, window, options))


def _duplicates(
    con: duckdb.DuckDBPyConnection, stream: Stream, window: Window | None, options: DuplicateOptions
) -> DuplicateReport:
    inside = within(window, options.field)
    open_repeats(con, stream)
    con.execute(
        f"""
        CREATE TABLE duplicates AS
        SELECT arrival, first, source, event_id, epoch_us(ingest_time) AS ingested
        FROM arrivals JOIN repeats USING (arrival)
        WHERE NOT conflict AND {inside}
        """  # noqa: S608
    )
    con.execute(
        f"""
        CREATE TABLE by_source AS
        SELECT source, arrivals, coalesce(repeats, 0) AS repeats, coalesce(events, 0) AS events
        FROM (SELECT source, count(*) AS arrivals FROM arrivals
              WHERE outcome <> 'REPLAYED' AND replay_of IS NULL AND {inside} GROUP BY source)
        LEFT JOIN (SELECT source, count(*) AS repeats, count(DISTINCT event_id) AS events
                   FROM duplicates GROUP BY source) USING (source)
        """  # noqa: S608
    )
    con.execute(
        """
        CREATE TABLE storms AS
        SELECT source, min(ingested) AS start, max(ingested) AS "end", count(*) AS repeats,
            count(DISTINCT event_id) AS events
        FROM (
            SELECT *, count(*) FILTER (fresh) OVER (PARTITION BY source ORDER BY arrival) AS storm
            FROM (
                SELECT *, ingested - lag(ingested) OVER before >= $calm AS fresh
                FROM duplicates WINDOW before AS (PARTITION BY source ORDER BY arrival)
            )
        )
        GROUP BY source, storm HAVING count(*) >= $storm
        """,
        {"calm": micros(options.calm), "storm": options.storm},
    )
    arrivals, repeats, events = con.execute(
        "SELECT coalesce(sum(arrivals), 0)::BIGINT, (SELECT count(*) FROM duplicates),"
        " (SELECT count(DISTINCT event_id) FROM duplicates) FROM by_source"
    ).fetchall()[0]
    return DuplicateReport(
        arrivals=arrivals,
        duplicates=repeats,
        share=share(repeats, arrivals),
        events_repeated=events,
        storms_found=con.execute("SELECT count(*) FROM storms").fetchall()[0][0],
        sources=_sources(con),
        storms=_storms(con, options.limit),
        events=_events(con, options.limit),
    )


def _sources(con: duckdb.DuckDBPyConnection) -> tuple[SourceDuplicates, ...]:
    rows = con.execute(
        "SELECT source, arrivals, repeats, events FROM by_source ORDER BY repeats DESC, source"
    ).fetchall()
    return tuple(
        SourceDuplicates(source, arrivals, repeats, share(repeats, arrivals), events)
        for source, arrivals, repeats, events in rows
    )


def _storms(con: duckdb.DuckDBPyConnection, limit: int) -> tuple[Storm, ...]:
    rows = con.execute(
        """
        SELECT source, start, "end", repeats, events
        FROM storms ORDER BY repeats DESC, start, source LIMIT ?
        """,
        [limit],
    ).fetchall()
    return tuple(
        Storm(source, instant(start), instant(end), repeats, events)
        for source, start, end, repeats, events in rows
    )


def _events(con: duckdb.DuckDBPyConnection, limit: int) -> tuple[RepeatedEvent, ...]:
    rows = con.execute(
        """
        WITH top AS (
            SELECT event_id, count(*) AS repeats, min(first) AS first, max(arrival) AS last
            FROM duplicates GROUP BY event_id ORDER BY repeats DESC, event_id LIMIT ?
        )
        SELECT last.event_id, last.source, last.entity_id, repeats,
            epoch_us(event.ingest_time), epoch_us(last.ingest_time)
        FROM top
        JOIN arrivals AS last ON last.arrival = top.last
        LEFT JOIN arrivals AS event ON event.arrival = top.first
        ORDER BY repeats DESC, last.event_id
        """,
        [limit],
    ).fetchall()
    return tuple(
        RepeatedEvent(
            event_id, source, entity, repeats, None if first is None else instant(first), instant(last)
        )
        for event_id, source, entity, repeats, first, last in rows
    )
