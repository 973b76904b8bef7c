"""The slice as SQL over the relations `arrivals` and `events` (execution.reading.relation), for DuckDB.

Values of the job go in as parameters, never as text; its condition is SQL that was checked
(planning.expressions). The order is total, so that a position means the same event every time.
"""

# ruff: noqa: S608 - what is put together here are constants, whole numbers and the checked condition

from __future__ import annotations

import msgspec

from pik.api.replay_job import Duplicates, Order, TimeField
from pik.planning.replay.events import EVENTS, HEADERS
from pik.planning.replay.spec import ReplaySpec

_TIME_ORDER = "event_time, event_time_rest, ingest_time, event_id, arrival"
_MOMENT = "struct_pack(a := event_time, b := event_time_rest, c := ingest_time, d := event_id)"


class Query(msgspec.Struct, frozen=True):
    """SQL and its parameters, in order."""

    sql: str
    parameters: list[object]


def columns_of(spec: ReplaySpec) -> list[str]:
    """Names of what is read of each event."""
    return [*EVENTS.names, HEADERS.name] if spec.target.headers else EVENTS.names


def _columns(spec: ReplaySpec) -> str:
    return ", ".join(
        "epoch_us(event_time) AS event_micros" if name == "event_micros" else f'"{name}"'
        for name in columns_of(spec)
    )


def order_by(spec: ReplaySpec) -> str:
    """EntityTime and EventTime: by event time, ingest time, event id (for EntityTime nothing is promised
    across entities, but a limit and a position need one order). IngestTime: as they were stored."""
    return "arrival" if spec.order is Order.INGEST_TIME else _TIME_ORDER


def slice_query(spec: ReplaySpec, condition: str | None, *, on_read: bool) -> Query:
    """The rows of the slice, after its limit, in no order. Those with `repeat` are arrivals after the first
    of the same content: a conflict is never selected."""
    wanted = _wanted(spec)
    sql = f"SELECT *, false AS repeat FROM events WHERE {wanted.sql}"
    parameters = list(wanted.parameters)
    if spec.duplicates is Duplicates.ALL:
        repeats = _repeats(wanted, on_read=on_read)
        sql = f"{sql} UNION ALL SELECT *, true AS repeat FROM ({repeats.sql})"
        parameters += repeats.parameters
    if condition is not None:
        # it may refuse a row that it cannot read, and must see none but those that were chosen
        sql = f"WITH chosen AS MATERIALIZED ({sql}) SELECT * FROM chosen WHERE {condition}"
    if spec.limit is not None:
        sql = f"SELECT * FROM ({sql}) ORDER BY {order_by(spec)} LIMIT {spec.limit:d}"
    return Query(sql, parameters)


def shard_query(spec: ReplaySpec, condition: str | None, *, on_read: bool, shard: int, start: int) -> Query:
    """One shard's events in the plan's order, from a position on. The shard of an entity is that of
    domain.identity.shard_of."""
    selected = slice_query(spec, condition, on_read=on_read)
    mine = f" WHERE {_shard(spec)} = {shard:d}" if spec.shards > 1 else ""
    sql = f"SELECT {_columns(spec)} FROM ({selected.sql}){mine} ORDER BY {order_by(spec)} OFFSET {start:d}"
    return Query(sql, selected.parameters)


def selected_table(spec: ReplaySpec, condition: str | None, *, on_read: bool) -> Query:
    """Makes the table `selected` of what `shard_query` selects for any shard."""
    selected = slice_query(spec, condition, on_read=on_read)
    order = "event_time, ingest_time, arrival"  # and what else there is to order by
    sql = f"SELECT {_columns(spec)}, {order}, {_shard(spec)} AS shard FROM ({selected.sql})"
    return Query(f"CREATE TABLE selected AS {sql}", selected.parameters)


def selected_query(spec: ReplaySpec, *, shard: int, start: int) -> Query:
    """The same as `shard_query`, of the table `selected`."""
    columns = ", ".join(f'"{name}"' for name in columns_of(spec))
    sql = f"SELECT {columns} FROM selected WHERE shard = {shard:d}"
    return Query(f"{sql} ORDER BY {order_by(spec)} OFFSET {start:d}", [])


def _shard(spec: ReplaySpec) -> str:
    return f"('0x' || sha256(entity_id)[:16])::UBIGINT % {spec.shards:d}"


def slice_table(spec: ReplaySpec, condition: str | None, *, on_read: bool) -> Query:
    """Makes the table `slice`: what counting needs of the slice."""
    selected = slice_query(spec, condition, on_read=on_read)
    columns = "event_id, entity_id, event_time, event_time_rest, ingest_time, strlen(data) AS size, repeat"
    return Query(f"CREATE TABLE slice AS SELECT {columns} FROM ({selected.sql})", selected.parameters)


COUNT = """
    SELECT count(*), coalesce(sum(size), 0)::BIGINT, coalesce(max(size), 0)::BIGINT,
        epoch_us(min(event_time)), epoch_us(max(event_time))
    FROM slice
"""

STALE = f"""
    SELECT DISTINCT entity_id FROM events
    JOIN (SELECT entity_id, max({_MOMENT}) AS moment FROM slice GROUP BY entity_id) USING (entity_id)
    WHERE event_time >= (SELECT min(event_time) FROM slice) AND {_MOMENT} > moment
    ORDER BY entity_id
"""
"""Entities with an event newer than their newest of the slice; that event cannot be in the slice itself."""


def tally(spec: ReplaySpec, *, on_read: bool) -> Query:
    """COUNT and the repeats of a slice that `is_plain`, in one pass and without a table."""
    wanted = _wanted(spec)
    if on_read:
        source = "arrivals LEFT JOIN later_arrivals USING (arrival)"
        event, repeat = "same IS NULL", "same AND outcome = 'RECORDED'"
        outcomes = "'RECORDED', 'REPLAYED'"
    else:
        source, event, repeat = "arrivals", "outcome = 'ACCEPTED'", "outcome = 'DUPLICATE'"
        outcomes = "'ACCEPTED', 'DUPLICATE'"
    return Query(
        f"""
        SELECT count(*) FILTER ({event}), coalesce(sum(strlen(data)) FILTER ({event}), 0)::BIGINT,
            coalesce(max(strlen(data)) FILTER ({event}), 0)::BIGINT,
            epoch_us(min(event_time) FILTER ({event})), epoch_us(max(event_time) FILTER ({event})),
            count(*) FILTER ({repeat})
        FROM {source} WHERE outcome IN ({outcomes}) AND {wanted.sql}
        """,
        wanted.parameters,
    )


def is_plain(spec: ReplaySpec, condition: str | None) -> bool:
    """Whether an arrival is of the slice by what its fingerprint covers alone: a repeat then is where its
    event is."""
    return (
        condition is None
        and spec.limit is None
        and spec.time_field is TimeField.EVENT_TIME
        and spec.duplicates is Duplicates.FIRST
    )


def repeats_query(spec: ReplaySpec, *, on_read: bool) -> Query:
    """How many arrivals within the job's window, entities, sources and types repeat an event of the slice."""
    repeats = _repeats(_wanted(spec), on_read=on_read)
    return Query(f"SELECT count(*) FROM ({repeats.sql}) SEMI JOIN slice USING (event_id)", repeats.parameters)


def _repeats(wanted: Query, *, on_read: bool) -> Query:
    if not on_read:
        return Query(
            f"SELECT * FROM arrivals WHERE outcome = 'DUPLICATE' AND {wanted.sql}", wanted.parameters
        )
    # of equal bytes: what is equal only in canonical form is left out, as a conflict would be; a replayed
    # arrival is no repeat (law 10)
    return Query(
        f"""
        SELECT arrivals.* FROM arrivals JOIN later_arrivals USING (arrival)
        WHERE same AND outcome = 'RECORDED' AND {wanted.sql}
        """,
        wanted.parameters,
    )


def _wanted(spec: ReplaySpec) -> Query:
    column = "event_time" if spec.time_field is TimeField.EVENT_TIME else "ingest_time"
    clauses = [f"{column} >= ?::TIMESTAMPTZ AND {column} < ?::TIMESTAMPTZ"]
    parameters: list[object] = [spec.start, spec.end]
    for name, values in (
        ("entity_id", spec.entities),
        ("source", spec.sources),
        ("event_type", spec.event_types),
    ):
        if values is not None:
            clauses.append(f"{name} IN ({', '.join('?' * len(values))})")
            parameters += values
    return Query(" AND ".join(clauses), parameters)
