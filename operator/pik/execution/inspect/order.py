"""Disorder: events that arrived after an event of the same entity that happened later."""

from __future__ import annotations

from datetime import timedelta

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
    instant,
    known_micros,
    known_rest,
    share,
    within,
)
from pik.execution.reading.query import query
from pik.execution.reading.snapshot import Snapshot
from pik.execution.stream import Stream


class OrderOptions(msgspec.Struct, frozen=True):
    """`known_by` ReceivedTime takes the order in which the source received them. Raises ValueError for a
    limit below 1."""

    known_by: KnownBy = KnownBy.INGEST_TIME
    field: TimeField = TimeField.EVENT_TIME
    limit: int = LIMIT

    def __post_init__(self) -> None:
        at_least_one(self.limit)


class EntityOrder(msgspec.Struct, frozen=True):
    entity_id: str
    events: int
    disordered: int
    furthest_behind: timedelta


class SourceOrder(msgspec.Struct, frozen=True):
    source: str
    events: int
    disordered: int
    share: float


class Disordered(msgspec.Struct, frozen=True):
    event_id: str
    source: str
    entity_id: str
    event_time: Instant
    known_time: Instant
    behind: timedelta  # the latest event time that had arrived before it, minus its own


class OrderReport(Report, frozen=True):
    """Of the events, not their repeats; those from a replay come when they are sent, and do not count."""

    events: int
    disordered: int
    share: float
    entities_affected: int
    furthest_behind: timedelta | None
    entities: tuple[EntityOrder, ...]  # the most disordered first
    worst: tuple[Disordered, ...]  # the furthest behind first
    sources: tuple[SourceOrder, ...]  # all, the most disordered first


async def order(
    stream: Stream, snapshot: Snapshot, window: Window | None, options: OrderOptions
) -> OrderReport:
    """Raises what `query` does."""
    return await query(stream, snapshot, lambda con: _order(con, window, options))


def _order(con: duckdb.DuckDBPyConnection, window: Window | None, options: OrderOptions) -> OrderReport:
    known, rest = known_micros(options.known_by), known_rest(options.known_by)
    # what came before may have come from outside the window
    con.execute(
        f"""
        CREATE TABLE ordered AS
        SELECT arrival, entity_id, source, (happened < latest) IS TRUE AS disordered,
            latest.micros - happened.micros AS behind
        FROM (
            SELECT *, max(happened) OVER (
                PARTITION BY entity_id ORDER BY known, known_rest, arrival
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS latest
            FROM (
                SELECT arrival, entity_id, source, {known} AS known, {rest} AS known_rest,
                    {{'micros': epoch_us(event_time), 'rest': event_time_rest}} AS happened,
                    {within(window, options.field)} AS inside
                FROM events WHERE replay_of IS NULL
            )
        )
        WHERE inside
        """  # noqa: S608
    )
    events, disordered, affected, behind = con.execute(
        """
        SELECT count(*), count(*) FILTER (disordered), count(DISTINCT entity_id) FILTER (disordered),
            max(behind) FILTER (disordered)
        FROM ordered
        """
    ).fetchall()[0]
    entities = con.execute(
        """
        SELECT entity_id, count(*), count(*) FILTER (disordered) AS found, max(behind) FILTER (disordered)
        FROM ordered GROUP BY entity_id HAVING found > 0 ORDER BY found DESC, entity_id LIMIT ?
        """,
        [options.limit],
    ).fetchall()
    worst = con.execute(
        f"""
        WITH top AS (
            SELECT arrival, behind FROM ordered WHERE disordered ORDER BY behind DESC, arrival LIMIT ?
        )
        SELECT event_id, source, entity_id, epoch_us(event_time), event_time_rest, {known}, {rest}, behind
        FROM arrivals JOIN top USING (arrival) ORDER BY behind DESC, arrival
        """,  # noqa: S608
        [options.limit],
    ).fetchall()
    sources = con.execute(
        """
        SELECT source, count(*), count(*) FILTER (disordered) AS found
        FROM ordered GROUP BY source ORDER BY found DESC, source
        """
    ).fetchall()
    return OrderReport(
        events=events,
        disordered=disordered,
        share=share(disordered, events),
        entities_affected=affected,
        furthest_behind=None if behind is None else timedelta(microseconds=behind),
        entities=tuple(
            EntityOrder(entity, total, found, timedelta(microseconds=far))
            for entity, total, found, far in entities
        ),
        worst=tuple(
            Disordered(
                event_id,
                source,
                entity,
                instant(at, at_rest),
                instant(seen, seen_rest),
                timedelta(microseconds=far),
            )
            for event_id, source, entity, at, at_rest, seen, seen_rest, far in worst
        ),
        sources=tuple(
            SourceOrder(source, total, found, share(found, total)) for source, total, found in sources
        ),
    )
