"""Repeats of an answer's events that came since an earlier answer: they change nothing (law 3)."""

from __future__ import annotations

import duckdb
import msgspec

from pik.api.aggregate_version import KnownBy
from pik.execution.aggregate.differences import inputs_of
from pik.execution.aggregate.records import Answer, AsOf
from pik.execution.inspect.repeats import open_repeats
from pik.execution.reading.query import query
from pik.execution.reading.snapshot import pinned_snapshot
from pik.execution.stream import Stream
from pik.planning.aggregate_sql import received_by


class Repeats(msgspec.Struct, frozen=True):
    """How many events arrived again, and how many of them (also) with another content."""

    duplicates: int
    conflicts: int


async def repeated(stream: Stream, before: Answer, after: Answer, memory: str | None = None) -> int:
    """How many inputs of the two answers have a duplicate that `after` could see and `before` could not.
    Raises what `pinned_snapshot` and `query` do."""
    inputs = await inputs_of(stream, before), await inputs_of(stream, after)
    snapshot = await pinned_snapshot(stream, after.as_of.cut_instant)

    def work(con: duckdb.DuckDBPyConnection) -> Repeats:
        for name, table in zip(("one", "other"), inputs, strict=True):
            con.register(name, table.select(["event_id"]))
        return count_repeats(con, stream, before.as_of, after.as_of)

    return (await query(stream, snapshot, work, memory)).duplicates


def count_repeats(con: duckdb.DuckDBPyConnection, stream: Stream, before: AsOf, after: AsOf) -> Repeats:
    """Among the arrivals of the connection, for the events in the tables `one` and `other`."""
    open_repeats(con, stream)
    ((duplicates, conflicts),) = con.execute(
        f"""
        SELECT count(DISTINCT event_id) FILTER (NOT conflict), count(DISTINCT event_id) FILTER (conflict)
        FROM repeats JOIN arrivals USING (arrival)
        WHERE {_could_see(after)} AND NOT {_could_see(before)}
            AND event_id IN (SELECT event_id FROM one UNION SELECT event_id FROM other)
        """  # noqa: S608
    ).fetchall()
    return Repeats(duplicates, conflicts)


def _could_see(answer: AsOf) -> str:
    ingested = f"ingest_time <= make_timestamptz({answer.cut_instant.micros})"
    if answer.known_by is KnownBy.INGEST_TIME:
        return f"({ingested})"
    return f"({ingested} AND {received_by(answer.instant)})"
