"""The events of an `OnWrite` stream held against the index, and repeats against the events they name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import msgspec
import pyarrow as pa

from pik.domain.arrivals import Outcome, Row
from pik.domain.segments import SegmentID
from pik.execution.reading.relation import connect
from pik.execution.verify.findings import Finding, Kind, RowSpan
from pik.ports.index import Reservation

_ROWS_A_FETCH = 10_000
_ACCEPTED = pa.schema(
    [
        ("event_id", pa.string()),
        ("entity_id", pa.string()),
        ("segment", pa.string()),
        ("row", pa.int32()),
        ("fingerprint", pa.string()),
    ]
)
_REPEATS = pa.schema(
    [("event_id", pa.string()), ("winner", pa.string()), ("segment", pa.string()), ("row", pa.int32())]
)


class Event(msgspec.Struct, frozen=True, gc=False):
    """An ACCEPTED row. `segment` is `str(SegmentID)`."""

    event_id: str
    segment: str
    row: int
    fingerprint: str


class Events:
    """The ACCEPTED rows of a stream and the repeats that name them, in a DuckDB of its own, which spills to
    disk what does not fit. One call at a time."""

    def __init__(self) -> None:
        self._con = connect()
        for name, schema in (("accepted", _ACCEPTED), ("repeats", _REPEATS)):
            columns = ", ".join(
                f"{field.name} {'INTEGER' if field.type == pa.int32() else 'VARCHAR'}" for field in schema
            )
            self._con.execute(f"CREATE TABLE {name} ({columns})")

    def close(self) -> None:
        self._con.close()

    def add(self, segment: SegmentID, rows: Sequence[Row]) -> None:
        accepted = [row for row in rows if row.outcome is Outcome.ACCEPTED]
        repeats = [row for row in rows if row.outcome in (Outcome.DUPLICATE, Outcome.CONFLICT)]
        self._insert(
            "accepted",
            _ACCEPTED,
            [row.arrival.event_id for row in accepted],
            [row.arrival.entity_id for row in accepted],
            [str(segment)] * len(accepted),
            [row.row for row in accepted],
            [row.arrival.fingerprint for row in accepted],
        )
        self._insert(
            "repeats",
            _REPEATS,
            [row.arrival.event_id for row in repeats],
            [row.winner for row in repeats],
            [str(segment)] * len(repeats),
            [row.row for row in repeats],
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

    def by_entity(self) -> Iterator[tuple[str, list[Event]]]:
        """Each entity with its events."""
        cursor: duckdb.DuckDBPyConnection = self._con.execute(
            "SELECT entity_id, event_id, segment, row, fingerprint FROM accepted ORDER BY entity_id"
        )
        entity: str | None = None
        events: list[Event] = []
        while found := cursor.fetchmany(_ROWS_A_FETCH):
            for entity_id, *event in found:
                if entity is not None and entity_id != entity:
                    yield entity, events
                    events = []
                entity = entity_id
                events.append(Event(*event))
        if entity is not None:
            yield entity, events

    def _insert(self, table: str, schema: pa.Schema, *columns: list[object]) -> None:
        if columns[0]:
            self._con.register("batch", pa.table(list(columns), schema=schema))
            self._con.execute(f"INSERT INTO {table} SELECT * FROM batch")  # noqa: S608 - our own names
            self._con.unregister("batch")


class EntryCheck(msgspec.Struct, frozen=True):
    """What an entity's index entries say of its events. `different`: events whose entry is missing (None) or
    says something else. `abandoned`: entries without their event."""

    different: tuple[tuple[Event, Reservation | None], ...]
    entries: int
    abandoned: tuple[Reservation, ...]


def compare_entries(events: Sequence[Event], entries: Sequence[Reservation], generation: int) -> EntryCheck:
    """Each event must have the entry that names its row, of the index's generation (a writer takes an older
    one for dead). An entry without its row is a reservation that came to nothing (law 1)."""
    by_id = {entry.event_id: entry for entry in entries}
    different = []
    for event in events:
        entry = by_id.pop(event.event_id, None)
        if (
            entry is None
            or entry.generation < generation
            or event != Event(entry.event_id, str(entry.segment), entry.row, entry.fingerprint)
        ):
            different.append((event, entry))
    return EntryCheck(tuple(different), len(entries), tuple(by_id.values()))


def difference(key: str, event: Event, entry: Reservation | None) -> Finding:
    """What to say of an event in the segment `key` whose index entry is missing or says something else."""
    columns: tuple[str, ...] = ()
    expected = found = None
    if entry is None:
        message = "the index does not have this event: it could be accepted again"
    elif (str(entry.segment), entry.row) != (event.segment, event.row):
        message, columns = "the index says that this event is elsewhere", ("row",)
        expected, found = f"{entry.segment} row {entry.row}", f"{event.segment} row {event.row}"
    elif entry.fingerprint != event.fingerprint:
        message, columns = "the index has another fingerprint for this event", ("fingerprint",)
        expected, found = entry.fingerprint, event.fingerprint
    else:
        message = f"the index entry is of generation {entry.generation}: the event could be accepted again"
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
