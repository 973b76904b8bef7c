"""How two answers to one question differ: in rows, and in the events that went into them (law 7)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

from pik.domain.instants import Instant
from pik.execution.aggregate.records import Answer, check_comparable, inputs_key, rows_key
from pik.execution.aggregate.tables import from_parquet
from pik.execution.reading.relation import connect
from pik.execution.stream import Stream
from pik.planning.aggregate_sql import AggregateQuery, query_of


class Change(StrEnum):
    """What became of an event from one answer to the other (design: Definitions, Difference)."""

    LATE = "Late"  # only in the other answer, although it happened before the first one's asOf
    NEW = "New"  # only in the other answer, and happened since
    MISSING = "Missing"  # only in the first answer
    CHANGED = "Changed"  # in both, and not the same


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that is not the same in both results; None where one has no such row. Values are in the order of
    the definition's groups and measures; instants are `Instant`, numbers int or Decimal."""

    bucket: Instant
    groups: tuple[Any, ...]
    before: tuple[Any, ...] | None
    after: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class Difference:
    """From `before` to `after`.

    `events`: those that are not the same in both, in order of `event_id`, with `change` (of `Change`),
    `event_time`, and of each side (`before_…`, `after_…`; NULL where the event is not in it) `fingerprint`,
    `segment`, `row`, `received_time`, `ingest_time`, `bucket` and `group_<n>`.
    """

    before: Answer
    after: Answer
    rows: tuple[RowChange, ...]
    events: pa.Table
    counts: dict[Change, int]


async def difference(stream: Stream, before: Answer, after: Answer, memory: str | None = None) -> Difference:
    """Compares what is kept of two answers, without reading raw data.

    Raises Incomparable where they answer different questions.
    """
    check_comparable(before, after)
    query = query_of(before.record.definition)
    rows = _row_changes(query, await rows_of(stream, before), await rows_of(stream, after))
    sides = await inputs_of(stream, before), await inputs_of(stream, after)
    winners_count = bool(query.open_columns(stream.fingerprint_exclude))
    events = await stream.offload(_event_changes, before.as_of.instant, *sides, winners_count, memory)
    found = events["change"].to_pylist()
    return Difference(before, after, rows, events, {change: found.count(change.value) for change in Change})


async def rows_of(stream: Stream, answer: Answer) -> pa.Table:
    """The result that is kept: `bucket`, groups, measures."""
    return from_parquet((await stream.objects.read(rows_key(stream, answer.version))).body)


async def inputs_of(stream: Stream, answer: Answer) -> pa.Table:
    """The inputs that are kept, in order of event id."""
    parts = []
    for number in range(answer.record.input_parts):
        stored = await stream.objects.read(inputs_key(stream, answer.version, number))
        parts.append(await stream.offload(from_parquet, stored.body))
    return pa.concat_tables(parts)


def _row_changes(query: AggregateQuery, before: pa.Table, after: pa.Table) -> tuple[RowChange, ...]:
    groups = len(query.groups)
    one, other = _by_key(before, groups), _by_key(after, groups)
    keys = sorted(one.keys() | other.keys(), key=_order)
    return tuple(
        RowChange(key[0], key[1:], one.get(key), other.get(key))
        for key in keys
        if one.get(key) != other.get(key)
    )


def _by_key(rows: pa.Table, groups: int) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {row[: groups + 1]: row[groups + 1 :] for row in python_rows(rows)}


def python_rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """A table's rows in Python, instants as `Instant`."""
    return zip(*(_values(column) for column in table.columns), strict=True)


def _values(column: pa.ChunkedArray) -> list[Any]:
    if not pa.types.is_timestamp(column.type):
        return list(column.to_pylist())
    return [None if micros is None else Instant(micros) for micros in column.cast(pa.int64()).to_pylist()]


def _order(key: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    return [(value is not None, value) for value in key]


def _event_changes(
    as_of: Instant, before: pa.Table, after: pa.Table, winners_count: bool, memory: str | None
) -> pa.Table:
    """`winners_count`: which arrival of an event won matters, and not only what its fingerprint covers."""
    with closing(connect(memory)) as con:
        con.register("one", before)
        con.register("other", after)
        sides = [
            f"{table}.{name} AS {side}_{name}"
            for table, side, inputs in (("one", "before", before), ("other", "after", after))
            for name in inputs.column_names
            if name not in ("event_id", "event_time", "event_time_rest", "received_time_rest")
        ]
        same = "one.fingerprint = other.fingerprint"
        if winners_count:
            same += " AND one.ingest_time = other.ingest_time"
        return con.sql(
            f"""
            SELECT coalesce(other.event_id, one.event_id) AS event_id,
                CASE WHEN other.event_id IS NULL THEN '{Change.MISSING}'
                     WHEN one.event_id IS NOT NULL THEN '{Change.CHANGED}'
                     WHEN other.event_time < make_timestamptz({as_of.micros}) THEN '{Change.LATE}'
                     ELSE '{Change.NEW}' END AS change,
                coalesce(other.event_time, one.event_time) AS event_time, {", ".join(sides)}
            FROM one FULL JOIN other ON one.event_id = other.event_id
            WHERE NOT coalesce({same}, false)
            ORDER BY 1
            """  # noqa: S608 - names of our own columns
        ).to_arrow_table()
