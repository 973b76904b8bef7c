"""The events that go into an aggregate, in a connection's tables (see planning.aggregate_sql)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from pik.api.aggregate_version import KnownBy, TimeBucket
from pik.domain.errors import OutOfMemory, UnreadableValue
from pik.execution.aggregate.records import AsOf
from pik.planning.aggregate_sql import LISTED, AggregateQuery, Scales, received_by, within
from pik.planning.buckets import HOUR, Piece, pieces, slot_length, starts
from pik.planning.definitions import Definition
from pik.planning.sql.payload import DIGITS, Reading


def condition(query: AggregateQuery, as_of: AsOf) -> str:
    """Of the events of the snapshot, those of the window that were known."""
    inside = within(query.definition.span)
    return inside if as_of.known_by is KnownBy.INGEST_TIME else f"{inside} AND {received_by(as_of.instant)}"


def select(
    con: duckdb.DuckDBPyConnection, query: AggregateQuery, wanted: str, open_columns: Sequence[str]
) -> None:
    """Makes `inputs` of the events that `wanted` and the definition's `where` select. `open_columns`: as
    `AggregateQuery` says them.

    Raises UnreadableValue, which names a problem, an event, and how many have it.
    """
    con.execute(query.stage("candidates", "events", wanted, [*LISTED, *open_columns]))
    refuse(con, "where", query.problems_of_choice())
    with exactly("where"):
        con.execute(query.choose())


def place(con: duckdb.DuckDBPyConnection, query: AggregateQuery) -> Scales:
    """Makes `placed` of `inputs`, anew where it is there. Raises UnreadableValue."""
    scales: dict[Reading, int] = {}
    if query.numbers:
        (needed,) = con.execute(query.places_needed()).fetchall()
        scales = scales_of(query, needed)
    refuse(con, "groupBy and measures", query.problems_of_results(scales))
    slots = [slot for (slot,) in con.execute(query.slots()).fetchall()]
    con.register("made", _as_table(pieces_of(query.definition, slots)))
    con.execute("CREATE OR REPLACE TABLE pieces AS SELECT * FROM made")
    con.unregister("made")
    con.execute(query.place(scales))
    return scales


def scales_of(query: AggregateQuery, needed: Sequence[int]) -> dict[Reading, int]:
    """The decimal places of `query.numbers`. Where one needs more than a number can have, it is found out
    what is wrong with it when it is read."""
    return {reading: min(places, DIGITS) for reading, places in zip(query.numbers, needed, strict=True)}


def pieces_of(definition: Definition, slots: Sequence[int]) -> list[Piece]:
    """Which bucket the instants of these slots are in, in their order."""
    if definition.bucket is TimeBucket.WINDOW:
        begins = [definition.span.start.micros]
    else:
        begins = starts(definition.bucket, definition.zone, {slot // HOUR * HOUR for slot in slots})
    return list(pieces(begins, slots, slot_length(definition.bucket)))


def _as_table(found: Sequence[Piece]) -> pa.Table:
    columns = zip(*found, strict=True) if found else [()] * len(Piece._fields)
    return pa.table([pa.array(column, pa.int64()) for column in columns], names=list(Piece._fields))


@contextmanager
def exactly(what: str) -> Iterator[None]:
    """Says of what DuckDB could not compute that it is not in the answer."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise OutOfMemory(f"{what}: it needs more memory than it is given") from error
    except (duckdb.OutOfRangeException, duckdb.ConversionException, duckdb.InvalidInputException) as error:
        # not DuckDB's own words, which may quote a payload
        raise UnreadableValue(
            f"{what}: a number becomes larger than the 38 digits that can be computed with exactly; fewer"
            " decimal places, such as round(payload.amount, 2), leave more room"
        ) from error


def refuse(con: duckdb.DuckDBPyConnection, what: str, problems: str | None) -> None:
    """Raises UnreadableValue for the first of the `problems`: SQL for what, in how many events, and in which
    one. None: there are none."""
    if problems is None:
        return
    found = con.execute(problems).fetchone()
    if found is not None:
        problem, count, event_id = found
        raise UnreadableValue(
            f"{what}: {problem} ({count} events, such as {event_id}); TRY_CAST makes NULL of no number"
        )
