"""Gaps in a cadence: slots of time in which a key has no arrival, between its own first and last.

A slot is the event time, in UTC, floored to the cadence. Any arrival fills its slot, also one that conflicts:
the question is whether something was sent. What a key lacks after its last arrival is silence, not a gap: it
may be over, or it may be down; it is measured to the stream's own last arrival, and the stream's own silence
from there on.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import duckdb
import msgspec

from pik.api.capture_stream import CadenceKey
from pik.api.replay_job import TimeField
from pik.domain.instants import Instant
from pik.domain.windows import Window
from pik.execution.inspect.report import Report
from pik.execution.inspect.terms import LIMIT, at_least_one, instant, micros, share, within
from pik.execution.reading.query import query
from pik.execution.reading.snapshot import Snapshot
from pik.execution.stream import Stream

_ALWAYS = (-(2**60), 2**60)  # microseconds: longer than instants reach


class PayloadPath(msgspec.Struct, frozen=True):
    """Names separated by dots, into the payload."""

    path: str


class GapOptions(msgspec.Struct, frozen=True):
    """`field` IngestTime asks about what was ingested in the window, whenever it happened. Raises ValueError
    for a cadence that is not longer than nothing, and for a limit below 1."""

    every: timedelta
    by: CadenceKey | PayloadPath = CadenceKey.ENTITY
    field: TimeField = TimeField.EVENT_TIME
    limit: int = LIMIT

    def __post_init__(self) -> None:
        at_least_one(self.limit)
        if self.every <= timedelta():
            raise ValueError("a cadence is longer than nothing")


class KeyGaps(msgspec.Struct, frozen=True):
    """A key's slots in the window, between its first and last arrival."""

    key: str
    expected: int
    present: int
    missing: int
    share: float  # missing of expected
    runs: int
    longest: int  # slots of the longest run
    first: Instant  # event time of its first arrival
    last: Instant


class Run(msgspec.Struct, frozen=True):
    """Consecutive missing slots of a key; both ends are starts of missing slots."""

    key: str
    first: Instant
    last: Instant
    missing: int
    incident: int | None  # the incident it is part of


class Incident(msgspec.Struct, frozen=True):
    """Runs of several keys that overlap, directly or through others."""

    number: int
    first: Instant
    last: Instant
    keys: tuple[str, ...]
    runs: int
    missing: int  # over all of its keys


class Silence(msgspec.Struct, frozen=True):
    """A key without arrivals at the end, while the stream went on; slots are those in the window."""

    key: str
    last: Instant  # event time of its last arrival
    stream_last: Instant  # event time of the stream's last arrival
    missing: int


class GapReport(Report, frozen=True):
    every: timedelta
    arrivals: int
    unkeyed: int  # arrivals that have no such key
    expected: int
    present: int
    missing: int
    share: float
    runs_found: int
    incidents_found: int
    silent_keys: int
    stream_last: Instant | None  # event time of the last arrival of all
    stream_silence: (
        int  # slots of the window after that one, as far as they were over at the snapshot's as_of
    )
    keys: tuple[KeyGaps, ...]  # the most missing first
    runs: tuple[Run, ...]  # the longest first
    incidents: tuple[Incident, ...]  # the most missing first
    silences: tuple[Silence, ...]  # the longest first


async def gaps(stream: Stream, snapshot: Snapshot, window: Window | None, options: GapOptions) -> GapReport:
    """Raises what `query` does."""
    return await query(stream, snapshot, lambda con: _gaps(con, snapshot.as_of, window, options))


def _gaps(
    con: duckdb.DuckDBPyConnection, as_of: Instant, window: Window | None, options: GapOptions
) -> GapReport:
    every = micros(options.every)
    _slots(con, window, options, every)
    _runs(con)
    arrivals, unkeyed = con.execute(
        """
        SELECT coalesce(sum(arrivals), 0)::BIGINT, coalesce(sum(arrivals) FILTER (key IS NULL), 0)::BIGINT
        FROM slots CROSS JOIN ends WHERE slot BETWEEN from_slot AND to_slot
        """
    ).fetchall()[0]
    expected, missing = con.execute(
        "SELECT coalesce(sum(expected), 0)::BIGINT, coalesce(sum(missing), 0)::BIGINT FROM key_gaps"
    ).fetchall()[0]
    runs, incidents = con.execute(
        "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM incidents)"
    ).fetchall()[0]
    silent, last, silence = con.execute(
        """
        SELECT (SELECT count(*) FROM silences), max(last_at),
            greatest(0, least(any_value(to_slot), $over) - greatest(max(last_slot), any_value(from_slot) - 1))
        FROM bounds CROSS JOIN ends
        """,
        {"over": as_of.micros // every - 1},
    ).fetchall()[0]
    return GapReport(
        every=options.every,
        arrivals=arrivals,
        unkeyed=unkeyed,
        expected=expected,
        present=expected - missing,
        missing=missing,
        share=share(missing, expected),
        runs_found=runs,
        incidents_found=incidents,
        silent_keys=silent,
        stream_last=None if last is None else instant(last),
        stream_silence=silence or 0,
        keys=_key_rows(con, options.limit),
        runs=_run_rows(con, options.limit, every),
        incidents=_incident_rows(con, options.limit, every),
        silences=_silence_rows(con, options.limit),
    )


def _slots(con: duckdb.DuckDBPyConnection, window: Window | None, options: GapOptions, every: int) -> None:
    """Makes `slots` (those that have arrivals, by key), `ends` (the first and last slot of the window),
    `bounds` (of each key its first and last arrival, and its first and last slot in the window) and
    `silences`."""
    by_ingest = options.field is TimeField.INGEST_TIME
    where = within(window, options.field) if by_ingest else "true"
    # DuckDB's integer division goes towards zero
    con.execute(
        f"""
        CREATE TABLE slots AS
        SELECT key, (happened - ((happened % $every) + $every) % $every) // $every AS slot,
            count(*) AS arrivals, min(happened) AS first_at, max(happened) AS last_at
        FROM (SELECT {_key(options.by)} AS key, epoch_us(event_time) AS happened FROM arrivals WHERE {where})
        GROUP BY key, slot
        """,  # noqa: S608
        {"every": every},
    )
    start, end = _ALWAYS if window is None or by_ingest else (window.start.micros, window.end.micros)
    # of the slots that start in the window
    con.execute(
        "CREATE TABLE ends AS SELECT $start AS from_slot, $end AS to_slot",
        {"start": -(-start // every), "end": -(-end // every) - 1},
    )
    con.execute(
        """
        CREATE TABLE bounds AS
        SELECT key, min(first_at) AS first_at, max(last_at) AS last_at, max(slot) AS last_slot,
            greatest(min(slot), any_value(from_slot)) AS first_slot,
            least(max(slot), any_value(to_slot)) AS end_slot
        FROM slots CROSS JOIN ends WHERE key IS NOT NULL GROUP BY key
        """
    )
    con.execute(
        """
        CREATE TABLE silences AS
        SELECT key, last_at, max(last_at) OVER () AS stream_at,
            least(max(last_slot) OVER (), to_slot) - greatest(last_slot, from_slot - 1) AS missing
        FROM bounds CROSS JOIN ends QUALIFY missing > 0
        """
    )


def _runs(con: duckdb.DuckDBPyConnection) -> None:
    """Makes `runs`, `incidents` and `key_gaps`. Missing slots are never spelled out, so that an event time
    that is centuries off costs nothing."""
    con.execute(
        """
        CREATE TABLE found AS
        SELECT key, greatest(slot + 1, first_slot) AS first, least(next - 1, end_slot) AS last
        FROM (SELECT key, slot, lead(slot) OVER (PARTITION BY key ORDER BY slot) AS next FROM slots)
        JOIN bounds USING (key)
        WHERE next > slot + 1 AND first <= last
        """
    )
    con.execute(
        """
        CREATE TABLE grouped AS
        SELECT key, first, last, sum(fresh) OVER (ORDER BY first, last, key) AS cluster
        FROM (
            SELECT *, coalesce(first > max(last) OVER (
                ORDER BY first, last, key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), true)::INTEGER AS fresh
            FROM found
        )
        """
    )
    con.execute(
        """
        CREATE TABLE incidents AS
        SELECT cluster, row_number() OVER (ORDER BY min(first)) AS number, min(first) AS first,
            max(last) AS last, list(DISTINCT key ORDER BY key) AS keys, count(*) AS runs,
            sum(last - first + 1)::BIGINT AS missing
        FROM grouped GROUP BY cluster HAVING count(DISTINCT key) > 1
        """
    )
    con.execute(
        """
        CREATE TABLE runs AS
        SELECT key, grouped.first, grouped.last, grouped.last - grouped.first + 1 AS missing, number
        FROM grouped LEFT JOIN incidents USING (cluster)
        """
    )
    con.execute(
        """
        CREATE TABLE key_gaps AS
        SELECT key, end_slot - first_slot + 1 AS expected, coalesce(sum(missing), 0)::BIGINT AS missing,
            count(missing) AS runs, coalesce(max(missing), 0) AS longest, first_at, last_at
        FROM bounds LEFT JOIN runs USING (key)
        WHERE end_slot >= first_slot
        GROUP BY key, first_slot, end_slot, first_at, last_at
        """
    )


def _key_rows(con: duckdb.DuckDBPyConnection, limit: int) -> tuple[KeyGaps, ...]:
    rows = con.execute(
        """
        SELECT key, expected, expected - missing, missing, runs, longest, first_at, last_at
        FROM key_gaps ORDER BY missing DESC, key LIMIT ?
        """,
        [limit],
    ).fetchall()
    return tuple(
        KeyGaps(key, expected, present, missing, share(missing, expected), runs, longest,
                instant(first), instant(last))
        for key, expected, present, missing, runs, longest, first, last in rows
    )  # fmt: skip


def _run_rows(con: duckdb.DuckDBPyConnection, limit: int, every: int) -> tuple[Run, ...]:
    rows = con.execute(
        "SELECT key, first, last, missing, number FROM runs ORDER BY missing DESC, first, key LIMIT ?",
        [limit],
    ).fetchall()
    return tuple(
        Run(key, instant(first * every), instant(last * every), missing, number)
        for key, first, last, missing, number in rows
    )


def _incident_rows(con: duckdb.DuckDBPyConnection, limit: int, every: int) -> tuple[Incident, ...]:
    rows = con.execute(
        """
        SELECT number, first, last, keys, runs, missing
        FROM incidents ORDER BY missing DESC, number LIMIT ?
        """,
        [limit],
    ).fetchall()
    return tuple(
        Incident(number, instant(first * every), instant(last * every), tuple(keys), runs, missing)
        for number, first, last, keys, runs, missing in rows
    )


def _silence_rows(con: duckdb.DuckDBPyConnection, limit: int) -> tuple[Silence, ...]:
    rows: list[Any] = con.execute(
        "SELECT key, last_at, stream_at, missing FROM silences ORDER BY missing DESC, key LIMIT ?", [limit]
    ).fetchall()
    return tuple(Silence(key, instant(last), instant(stream), missing) for key, last, stream, missing in rows)


def _key(by: CadenceKey | PayloadPath) -> str:
    """The key's SQL. A path becomes a JSON pointer, whose escapes leave no name out."""
    if isinstance(by, PayloadPath):
        names = [name.replace("~", "~0").replace("/", "~1") for name in by.path.split(".")]
        pointer = "".join(f"/{name}" for name in names).replace("'", "''")
        return f"json_extract_string(data, '{pointer}')"
    return {
        CadenceKey.ENTITY: "entity_id",
        CadenceKey.SOURCE: "source",
        CadenceKey.EVENT_TYPE: "event_type",
        CadenceKey.STREAM: "''",
    }[by]
