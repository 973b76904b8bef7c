"""From DuckDB to Arrow and Parquet, the same bytes for the same rows; and the hash of the inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from io import BytesIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pik.planning.aggregate_sql import BUCKET, AggregateQuery, Scales, lines_of
from pik.planning.sql.grammar import Type
from pik.planning.sql.payload import DIGITS
from pik.planning.sql.values import Sql

PART = 1_000_000  # inputs in one object
_BATCH = 100_000  # rows
_TIME = pa.timestamp("us", tz="UTC")


def result_rows(con: duckdb.DuckDBPyConnection, query: AggregateQuery, scales: Scales) -> pa.Table:
    """The result of the table `placed`: `bucket`, groups and measures under their names. Numbers are
    DECIMAL(38, scale), counts INT64; sorted by bucket and groups, NULL first."""
    found = con.sql(query.rows(scales)).to_arrow_table()
    columns = {BUCKET: found[BUCKET].cast(_TIME)}
    for n, (column, sql) in enumerate(zip(query.columns, query.outputs(scales), strict=True)):
        columns[column.name] = _typed(found[f"column_{n}"], sql, is_count=column.is_count)
    return pa.table(columns)


def input_parts(
    con: duckdb.DuckDBPyConnection, query: AggregateQuery, scales: Scales, part: int = PART
) -> Iterator[pa.Table]:
    """The inputs in order of their event ids, so many at a time (none: one empty table): `event_id`,
    `fingerprint`, times, place (`segment`, `row`), `bucket` and `group_<n>`."""
    groups = query.outputs(scales)[: len(query.groups)]
    waiting: list[pa.RecordBatch] = []
    rows = whole = 0
    reader = con.sql(query.inputs()).to_arrow_reader(_BATCH)
    for batch in reader:
        waiting.append(batch)
        rows += batch.num_rows
        while rows >= part:
            table = pa.Table.from_batches(waiting)
            yield _inputs(table.slice(0, part), groups)
            waiting, rows, whole = table.slice(part).to_batches(), rows - part, whole + 1
    if rows or not whole:
        yield _inputs(pa.Table.from_batches(waiting, reader.schema), groups)


def to_parquet(table: pa.Table) -> bytes:
    """Parquet with zstd. Raises nothing; the same table gives the same bytes."""
    sink = BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", compression_level=1)
    return sink.getvalue()


def from_parquet(body: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(body))


def hash_inputs(
    con: duckdb.DuckDBPyConnection, open_columns: Sequence[str]
) -> tuple[str, int, tuple[str, ...]]:
    """The inputs hash of the table `placed` (SHA-256, hex), how many inputs there are, and the first of their
    ids."""
    digest, count = sha256(), 0
    first: tuple[str, ...] = ()
    for batch in con.sql(lines_of("placed", open_columns)).to_arrow_reader(_BATCH):
        lines = batch.column(0).cast(pa.large_binary())
        if count == 0:
            first = tuple(str(line, "ascii")[:64] for line in lines[:10].to_pylist())
        digest.update(_joined(lines))
        count += len(lines)
    return digest.hexdigest(), count, first


def _joined(lines: pa.LargeBinaryArray) -> memoryview:
    """The bytes of all values, one after the other, as they lie in memory."""
    _, offsets, data = lines.buffers()
    positions = memoryview(offsets).cast("q")
    start, end = positions[lines.offset], positions[lines.offset + len(lines)]
    return memoryview(data)[start:end] if data is not None else memoryview(b"")


def _inputs(table: pa.Table, groups: Sequence[Sql]) -> pa.Table:
    times = [name for name in table.column_names if pa.types.is_timestamp(table.schema.field(name).type)]
    typed = {name: table[name].cast(_TIME) for name in times}
    typed |= {f"group_{n}": _typed(table[f"group_{n}"], sql, is_count=False) for n, sql in enumerate(groups)}
    return pa.table({name: typed.get(name, table[name]) for name in table.column_names})


def _typed(column: pa.ChunkedArray, sql: Sql, *, is_count: bool) -> pa.ChunkedArray:
    if sql.type is Type.INSTANT:
        return column.cast(_TIME)
    if sql.type is not Type.NUMBER or is_count:
        return column
    type_ = pa.decimal128(DIGITS, sql.scale)
    return pa.chunked_array([_at_scale(chunk, type_) for chunk in column.chunks], type_)


def _at_scale(integers: pa.Decimal128Array, type_: pa.Decimal128Type) -> pa.Decimal128Array:
    """HUGEINT comes as DECIMAL(38, 0); with its scale said, the same bits are the number."""
    return pa.Array.from_buffers(
        type_, len(integers), integers.buffers(), integers.null_count, integers.offset
    )
