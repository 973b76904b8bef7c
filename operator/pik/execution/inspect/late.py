"""Late events: known more than `late_after` after they happened (design: Definitions, late)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import duckdb
import msgspec

from pik.api.aggregate_version import KnownBy
from pik.api.replay_job import TimeField
from pik.domain.instants import Instant
from pik.domain.windows import Window
from pik.execution.inspect.report import Report
from pik.execution.inspect.terms import (
    LIMIT,
    at_least_one,
    duration,
    instant,
    known_micros,
    known_rest,
    micros,
    share,
    within,
)
from pik.execution.reading.query import query
from pik.execution.reading.snapshot import Snapshot
from pik.execution.stream import Stream


class LateOptions(msgspec.Struct, frozen=True):
    """Raises ValueError for a limit below 1."""

    late_after: timedelta
    known_by: KnownBy = KnownBy.INGEST_TIME
    field: TimeField = TimeField.EVENT_TIME
    limit: int = LIMIT

    def __post_init__(self) -> None:
        at_least_one(self.limit)


class LateGroup(msgspec.Struct, frozen=True):
    """The events of one source and type. Percentiles are of known time minus event time, of all of them, late
    or not, each the lag of some event."""

    source: str
    event_type: str
    events: int
    late: int
    share: float
    p50: timedelta
    p90: timedelta
    p99: timedelta
    longest: timedelta


class LateEvent(msgspec.Struct, frozen=True):
    event_id: str
    source: str
    event_type: str
    entity_id: str
    event_time: Instant
    known_time: Instant
    lag: timedelta


class LateReport(Report, frozen=True):
    """Events from a replay are not counted: they are not news."""

    events: int
    late: int
    share: float
    unreceived: int  # known by their ingest time, for want of a received time that was asked for
    p50: timedelta | None
    p90: timedelta | None
    p99: timedelta | None
    longest: timedelta | None
    late_after: timedelta
    groups: tuple[LateGroup, ...]  # all, by source and type
    latest: tuple[LateEvent, ...]  # the latest first


async def late(stream: Stream, snapshot: Snapshot, window: Window | None, options: LateOptions) -> LateReport:
    """Raises what `query` does."""
    return await query(stream, snapshot, lambda con: _late(con, window, options))


def _late(con: duckdb.DuckDBPyConnection, window: Window | None, options: LateOptions) -> LateReport:
    known, rest = known_micros(options.known_by), known_rest(options.known_by)
    # an event's digits beyond microseconds make it later than its microseconds: its lag is that much less
    con.execute(
        f"""
        CREATE TABLE lags AS
        SELECT arrival, source, event_type, {known} - epoch_us(event_time) AS lag,
            lag > $late_after OR (lag = $late_after AND {rest} > event_time_rest) AS late,
            received_time IS NULL AS unreceived
        FROM events WHERE replay_of IS NULL AND {within(window, options.field)}
        """,  # noqa: S608
        {"late_after": micros(options.late_after)},
    )
    counts = """
        count(*), count(*) FILTER (late), quantile_disc(lag, [0.5, 0.9, 0.99]), max(lag)
    """
    whole = con.execute(f"SELECT {counts}, count(*) FILTER (unreceived) FROM lags").fetchall()[0]  # noqa: S608
    groups = con.execute(
        f"SELECT source, event_type, {counts} FROM lags GROUP BY ALL ORDER BY source, event_type"  # noqa: S608
    ).fetchall()
    latest = con.execute(
        f"""
        WITH top AS (SELECT arrival, lag FROM lags WHERE late ORDER BY lag DESC, arrival LIMIT $limit)
        SELECT event_id, source, event_type, entity_id, epoch_us(event_time), event_time_rest,
            {known}, {rest}, lag
        FROM arrivals JOIN top USING (arrival) ORDER BY lag DESC, arrival
        """,  # noqa: S608
        {"limit": options.limit},
    ).fetchall()
    events, number, percentiles, longest, unreceived = whole
    p50, p90, p99 = map(duration, percentiles or (None, None, None))
    return LateReport(
        events=events,
        late=number,
        share=share(number, events),
        unreceived=unreceived if options.known_by is KnownBy.RECEIVED_TIME else 0,
        p50=p50,
        p90=p90,
        p99=p99,
        longest=duration(longest),
        late_after=options.late_after,
        groups=tuple(map(_group, groups)),
        latest=tuple(map(_event, latest)),
    )


def _group(row: tuple[Any, ...]) -> LateGroup:
    source, event_type, events, number, percentiles, longest = row
    p50, p90, p99 = (timedelta(microseconds=lag) for lag in percentiles)
    part = share(number, events)
    return LateGroup(source, event_type, events, number, part, p50, p90, p99, timedelta(microseconds=longest))


def _event(row: tuple[Any, ...]) -> LateEvent:
    event_id, source, event_type, entity_id, happened, happened_rest, known, known_rest, lag = row
    return LateEvent(
        event_id,
        source,
        event_type,
        entity_id,
        instant(happened, happened_rest),
        instant(known, known_rest),
        timedelta(microseconds=lag),
    )
