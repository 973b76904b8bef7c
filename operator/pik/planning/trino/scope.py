# ruff: noqa: S608 - all of it is pik's own
"""Which rows of a stream's table are looked at: exactly those of a snapshot's segments, and of these the
events of a window that were known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from pik.domain.instants import Instant
from pik.domain.segments import SegmentID
from pik.domain.windows import Window
from pik.planning.sql.payload import literal
from pik.planning.trino.tables import Table
from pik.planning.trino.words import TRINO

_TIMES = ("event_time", "received_time", "ingest_time")
_COLUMNS = (
    "event_id", "source", "event_type", "entity_id", "event_time", "event_time_rest", "event_time_text",
    "received_time", "received_time_rest", "ingest_time", "idempotency_key", "payload_sha256", "fingerprint",
    "outcome", "data",
)  # fmt: skip
_SEGMENT = "'([^/]+)[.]parquet$'"


@dataclass(frozen=True)
class Scope:
    """`hours`: UTC hours whose segments are read, of `first` to `last` (ingest times, both included);
    `excluded`: segments there that do not count. `on_read`: the first arrival of an event is decided here.
    `received_by`: events count that were known by then by their source's word; None: all."""

    table: Table
    hours: tuple[datetime, ...]
    first: Instant
    last: Instant
    window: Window
    on_read: bool
    received_by: Instant | None = None
    excluded: tuple[str, ...] = ()

    @classmethod
    def nothing(cls) -> Scope:
        """For a look at what a question would be like."""
        zero, one = Instant(0), Instant(1)
        return cls(Table("database", "table"), (), zero, one, Window(zero, one), on_read=True)

    def arrivals(self, *, everything: bool = False) -> str:
        """`arrivals`: the rows of the segments. `everything`: also of those that are excluded."""
        table = self.table
        columns = [f"{table.micros(c)} AS {c}" if c in _TIMES else c for c in _COLUMNS]
        segment = f"regexp_extract({table.path}, {_SEGMENT}, 1)"
        stamps = f"{TRINO.instant(self.first.micros)} AND {TRINO.instant(self.last.micros)}"
        conditions = [_partitions(self.hours), f"{table.micros('ingest_time')} BETWEEN {stamps}"]
        if self.excluded and not everything:
            conditions.append(f"{segment} NOT IN ({', '.join(map(literal, self.excluded))})")
        return (
            f'arrivals AS (SELECT {", ".join(columns)}, "row" AS place, {segment} AS segment'
            f" FROM {table.reference} WHERE {' AND '.join(conditions)})"
        )

    def events(self) -> list[str]:
        """`events`: those of the arrivals that are the stream's events, in the window, and were known."""
        wanted = self._wanted()
        if not self.on_read:
            return [f"events AS (SELECT * FROM arrivals WHERE outcome = 'ACCEPTED' AND {wanted})"]
        may_be = "outcome IN ('RECORDED', 'REPLAYED')"
        order = "ORDER BY ingest_time, segment, place"
        turns = (
            f"turns AS (SELECT segment, place, row_number() OVER (PARTITION BY event_id {order}) AS turn"
            f" FROM arrivals WHERE {may_be})"
        )
        # which arrival came first is decided over all of them, and only then it is asked what it says
        here = f"SELECT * FROM arrivals WHERE {may_be} AND {wanted}"
        same = "here.segment = turns.segment AND here.place = turns.place"
        first = f"SELECT here.* FROM ({here}) AS here JOIN turns ON {same} WHERE turns.turn = 1"
        return [turns, f"events AS ({first})"]

    def _wanted(self) -> str:
        start, end = (TRINO.instant(at.micros) for at in (self.window.start, self.window.end))
        inside = f"event_time >= {start} AND event_time < {end}"
        if self.received_by is None:
            return inside
        known, at = "coalesce(received_time, ingest_time)", TRINO.instant(self.received_by.micros)
        exactly = f"{known} = {at} AND coalesce(received_time_rest, '') = ''"
        return f"{inside} AND ({known} < {at} OR {exactly})"


def hour_of(segment: SegmentID) -> datetime:
    """The UTC hour whose partition has the segment."""
    stamped = datetime.fromtimestamp(segment.stamp_millis / 1000, UTC)
    return stamped.replace(minute=0, second=0, microsecond=0)


def _partitions(hours: Iterable[datetime]) -> str:
    """A condition on the partitions `ingest_date` and `hour`, which names these hours and no other."""
    by_day = {
        day: tuple(sorted({hour.hour for hour in found}))
        for day, found in groupby(sorted(hours), key=lambda hour: hour.date())
    }
    if not by_day:
        return "false"
    return f"({' OR '.join(_spans(by_day))})"


def _spans(by_day: Mapping[date, tuple[int, ...]]) -> list[str]:
    """Days that follow each other with the same hours are named together."""
    spans: list[tuple[date, date, tuple[int, ...]]] = []
    for day, hours in by_day.items():
        if spans and spans[-1][2] == hours and day - spans[-1][1] == timedelta(days=1):
            spans[-1] = (spans[-1][0], day, hours)
        else:
            spans.append((day, day, hours))
    return [_span(*span) for span in spans]


def _span(first: date, last: date, hours: tuple[int, ...]) -> str:
    one = first == last
    days = f"= '{first}'" if one else f"BETWEEN '{first}' AND '{last}'"
    if len(hours) == 24:
        return f"ingest_date {days}"
    names = ", ".join(literal(f"{hour:02d}") for hour in hours)
    return f"ingest_date {days} AND hour IN ({names})"
