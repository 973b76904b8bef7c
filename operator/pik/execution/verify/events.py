"""The events of an `OnWrite` stream held against the index, and repeats against the events they name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import duckdb
import msgspec
import pyarrow as pa

from pik.domain.arrivals import Outcome, Row
from pik.domain.segments import SegmentID
from pik.execution.reading.relation import connect
from pik.execution.verify.findings import Finding, Kind, RowSpan
from pik.ports.index import Reservation

_ROWS_A_FETCH = 10_000
_PLACE = [("event_id", pa.string()), ("segment", pa.string()), ("row", pa.int32())]
_ACCEPTED = pa.schema(
    [*_PLACE, ("fingerprint", pa.string()), ("entity_id", pa.string()), ("event_time", pa.string())]
)
_REPEATS = pa.schema([*_PLACE, ("winner", pa.string())])
_ENTRIES = pa.schema([*_ACCEPTED, ("generation", pa.int64())])
_SQL_TYPES = {pa.string(): "VARCHAR", pa.int32(): "INTEGER", pa.int64(): "BIGINT"}


class Event(msgspec.Struct, frozen=True, gc=False):
    """An ACCEPTED row, or what an index entry says of one. `segment` is `str(SegmentID)`, `event_time` the
    text that sorts as the times do."""

    event_id: str
    segment: str
    row: int
    fingerprint: str
    entity_id: str
    event_time: str


class Abandoned(msgspec.Struct, frozen=True, gc=False):
    """Index entries without an event, of one segment and generation. `event_id`: the first of them."""

    segment: str
    generation: int
    entries: int
    event_id: str


class Events:
    """The ACCEPTED rows of a stream, the repeats that name them, and the index's entries, in a DuckDB of its
    own, which spills to disk what does not fit. One call at a time."""

    def __init__(self) -> None:
        self._con = connect()
        for name, schema in (("accepted", _ACCEPTED), ("repeats", _REPEATS), ("entries", _ENTRIES)):
            columns = ", ".join(f"{field.name} {_SQL_TYPES[field.type]}" for field in schema)
            self._con.execute(f"CREATE TABLE {name} ({columns})")

    def close(self) -> None:
        self._con.close()

    def add(self, segment: SegmentID, rows: Sequence[Row]) -> None:
        name = str(segment)
        accepted = [row for row in rows if row.outcome is Outcome.ACCEPTED]
        repeats = [row for row in rows if row.outcome in (Outcome.DUPLICATE, Outcome.CONFLICT)]
        self._insert(
            "accepted",
            _ACCEPTED,
            [
                (a.event_id, name, row.row, a.fingerprint, a.entity_id, a.event_time.sort_text)
                for row in accepted
                for a in [row.arrival]
            ],
        )
        self._insert(
            "repeats", _REPEATS, [(row.arrival.event_id, name, row.row, row.winner) for row in repeats]
        )

    def add_entries(self, entries: Sequence[Reservation]) -> None:
        self._insert(
            "entries",
            _ENTRIES,
            [
                (
                    e.event_id,
                    str(e.segment),
                    e.row,
                    e.fingerprint,
                    e.entity_id,
                    e.event_time.sort_text,
                    e.generation,
                )
                for e in entries
            ],
        )

    def accepted_twice(self) -> list[tuple[str, list[str]]]:
        """Event ids that are events more than once, with the segments."""
        found: list[tuple[str, list[str]]] = self._con.execute(
            "SELECT event_id, list(segment ORDER BY segment, row) FROM accepted"
            " GROUP BY event_id HAVING count(*) > 1 ORDER BY event_id"
        ).fetchall()
        return found

    def repeats_of_nothing(self) -> list[tuple[str, str | None, str, int]]:
        """(event id, winner, segment, row) of the repeats whose winner does not hold the event."""
        found: list[tuple[str, str | None, str, int]] = self._con.execute(
            "SELECT event_id, winner, segment, row FROM repeats ANTI JOIN accepted"
            " ON accepted.event_id = repeats.event_id AND accepted.segment = repeats.winner"
            " ORDER BY segment, row"
        ).fetchall()
        return found

    def contradicted(self, generation: int) -> Iterator[tuple[Event, Event | None, int]]:
        """Each event whose entry is missing (None) or says something else, with the entry's generation. An
        entry of an older generation than the index's is dead to a writer; one of a newer is never met."""
        sides = [f"accepted.{name}" for name in _ACCEPTED.names] + [f"entries.{n}" for n in _ENTRIES.names]
        same = " AND ".join(f"accepted.{name} = entries.{name}" for name in _ACCEPTED.names)
        cursor: duckdb.DuckDBPyConnection = self._con.execute(
            f"SELECT {', '.join(sides)} FROM accepted LEFT JOIN entries USING (event_id)"  # noqa: S608 - ours
            f" WHERE ({same} AND entries.generation = ?) IS NOT TRUE"
            " ORDER BY accepted.segment, accepted.row",
            [generation],
        )
        width = len(_ACCEPTED)
        while found := cursor.fetchmany(_ROWS_A_FETCH):
            for row in found:
                entry = None if row[width] is None else Event(*row[width : 2 * width])
                yield Event(*row[:width]), entry, row[-1] or 0

    def abandoned(self) -> list[Abandoned]:
        """What the index has besides the events: reservations that came to nothing, for the most part."""
        found = self._con.execute(
            "SELECT segment, generation, count(*), min(event_id)"
            " FROM entries ANTI JOIN accepted USING (event_id) GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        return [Abandoned(*row) for row in found]

    def entries(self) -> int:
        (count,) = self._con.execute("SELECT count(*) FROM entries").fetchall()[0]
        return int(count)

    def _insert(self, table: str, schema: pa.Schema, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            columns = [list(column) for column in zip(*rows, strict=True)]
            self._con.register("batch", pa.table(columns, schema=schema))
            self._con.execute(f"INSERT INTO {table} SELECT * FROM batch")  # noqa: S608 - our own names
            self._con.unregister("batch")


async def in_batches(entries: AsyncIterator[Reservation]) -> AsyncIterator[list[Reservation]]:
    batch = []
    async for entry in entries:
        batch.append(entry)
        if len(batch) == _ROWS_A_FETCH:
            yield batch
            batch = []
    if batch:
        yield batch


def difference(key: str, event: Event, entry: Event | None, generation: int) -> Finding:
    """What to say of an event in the segment `key` whose index entry is missing or says something else.
    `generation`: the entry's."""
    columns: tuple[str, ...] = ()
    expected = found = None
    if entry is None:
        message = "the index does not have this event: it could be accepted again"
    elif (entry.segment, entry.row) != (event.segment, event.row):
        message, columns = "the index says that this event is elsewhere", ("row",)
        expected, found = f"{entry.segment} row {entry.row}", f"{event.segment} row {event.row}"
    elif entry != event:
        columns = tuple(
            name
            for name in ("fingerprint", "entity_id", "event_time")
            if getattr(entry, name) != getattr(event, name)
        )
        message = f"the index has another {' and '.join(columns)} for this event"
        expected, found = (str(getattr(one, columns[0])) for one in (entry, event))
    else:
        message = (
            f"the index entry is of generation {generation}: the event could be accepted again, or a repeat"
            " of it never be answered"
        )
    return Finding(
        Kind.INDEX_CONTRADICTS,
        key,
        message,
        rows=RowSpan(event.row, event.row),
        columns=columns,
        expected=expected,
        found=found,
        event_id=event.event_id,
    )
