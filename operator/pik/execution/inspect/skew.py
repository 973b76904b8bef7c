"""Skew: event times ahead of the clock that saw them, and event times that are plainly not real."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum

import duckdb
import msgspec

from pik.api.aggregate_version import KnownBy
from pik.api.replay_job import TimeField
from pik.domain.instants import Instant, instant_of
from pik.domain.windows import Window
from pik.execution.inspect.report import Report
from pik.execution.inspect.terms import (
    LIMIT,
    at_least_one,
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


class Oddity(StrEnum):
    """What is odd about an event time; the first that fits."""

    EPOCH = "Epoch"  # within January 1970: a zero, or a number taken in the wrong unit
    TOO_OLD = "TooOld"  # before 1990: older than anything that sends events
    FAR_AHEAD = "FarAhead"  # more than a day after the snapshot's as_of
    AHEAD = "Ahead"  # of the clock that saw it, by more than the tolerance


_EPOCH_END = instant_of(datetime(1970, 2, 1, tzinfo=UTC)).micros
_OLDEST = instant_of(datetime(1990, 1, 1, tzinfo=UTC)).micros
_FAR = timedelta(days=1)


class SkewOptions(msgspec.Struct, frozen=True):
    """`known_by`: the clock to compare with, pik's at ingest or the source's at receipt. `tolerance`: how far
    ahead two honest clocks may be. Raises ValueError for a limit below 1."""

    known_by: KnownBy = KnownBy.INGEST_TIME
    tolerance: timedelta = timedelta(seconds=1)
    field: TimeField = TimeField.EVENT_TIME
    limit: int = LIMIT

    def __post_init__(self) -> None:
        at_least_one(self.limit)


class SourceSkew(msgspec.Struct, frozen=True):
    source: str
    events: int
    odd: int
    share: float
    epoch: int
    too_old: int
    far_ahead: int
    ahead: int
    furthest_ahead: timedelta | None  # of those that are ahead, but not far


class OddEvent(msgspec.Struct, frozen=True):
    event_id: str
    source: str
    entity_id: str
    oddity: Oddity
    event_time: Instant
    known_time: Instant


class SkewReport(Report, frozen=True):
    """Of the events, not their repeats or what came from a replay."""

    events: int
    odd: int
    share: float
    epoch: int
    too_old: int
    far_ahead: int
    ahead: int
    furthest_ahead: timedelta | None
    sources: tuple[SourceSkew, ...]  # all, the most odd events first
    examples: tuple[OddEvent, ...]  # in order of arrival


async def skew(stream: Stream, snapshot: Snapshot, window: Window | None, options: SkewOptions) -> SkewReport:
    """Raises what `query` does."""
    return await query(stream, snapshot, lambda con: _skew(con, snapshot.as_of, window, options))


def _skew(
    con: duckdb.DuckDBPyConnection, as_of: Instant, window: Window | None, options: SkewOptions
) -> SkewReport:
    known, rest = known_micros(options.known_by), known_rest(options.known_by)
    con.execute(
        f"""
        CREATE TABLE skewed AS
        SELECT arrival, source, happened - known AS ahead,
            CASE
                WHEN happened >= 0 AND happened < $epoch_end THEN '{Oddity.EPOCH}'
                WHEN happened < $oldest THEN '{Oddity.TOO_OLD}'
                WHEN happened > $farthest THEN '{Oddity.FAR_AHEAD}'
                WHEN ahead > $tolerance OR (ahead = $tolerance AND event_time_rest > known_rest)
                    THEN '{Oddity.AHEAD}'
            END AS oddity
        FROM (
            SELECT arrival, source, epoch_us(event_time) AS happened, event_time_rest,
                {known} AS known, {rest} AS known_rest
            FROM events WHERE replay_of IS NULL AND {within(window, options.field)}
        )
        """,  # noqa: S608
        {
            "epoch_end": _EPOCH_END,
            "oldest": _OLDEST,
            "farthest": as_of.micros + micros(_FAR),
            "tolerance": micros(options.tolerance),
        },
    )
    kinds = ", ".join(f"count(*) FILTER (oddity = '{oddity}')" for oddity in Oddity)
    counts = f"""
        count(*), count(oddity) AS odd, {kinds}, max(ahead) FILTER (oddity = '{Oddity.AHEAD}')
    """
    whole = con.execute(f"SELECT {counts} FROM skewed").fetchall()[0]  # noqa: S608
    sources = con.execute(
        f"SELECT source, {counts} FROM skewed GROUP BY source ORDER BY odd DESC, source"  # noqa: S608
    ).fetchall()
    examples = con.execute(
        f"""
        WITH top AS (SELECT arrival, oddity FROM skewed WHERE oddity IS NOT NULL ORDER BY arrival LIMIT ?)
        SELECT event_id, source, entity_id, oddity, epoch_us(event_time), event_time_rest, {known}, {rest}
        FROM arrivals JOIN top USING (arrival) ORDER BY arrival
        """,  # noqa: S608
        [options.limit],
    ).fetchall()
    return SkewReport(
        *_counts(whole),
        sources=tuple(SourceSkew(source, *_counts(row)) for source, *row in sources),
        examples=tuple(
            OddEvent(event_id, source, entity, Oddity(oddity), instant(at, at_rest), instant(seen, seen_rest))
            for event_id, source, entity, oddity, at, at_rest, seen, seen_rest in examples
        ),
    )


def _counts(
    row: list[int | None] | tuple[int | None, ...],
) -> tuple[int, int, float, int, int, int, int, timedelta | None]:
    events, odd, epoch, too_old, far_ahead, ahead = (number or 0 for number in row[:6])
    furthest = row[6]
    return (
        events,
        odd,
        share(odd, events),
        epoch,
        too_old,
        far_ahead,
        ahead,
        None if furthest is None else timedelta(microseconds=furthest),
    )
