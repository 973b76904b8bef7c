"""A version's rows, from DuckDB to Arrow and Parquet: the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pik.planning.aggregate_sql import BUCKET, AggregateQuery, Scales
from pik.planning.sql.grammar import Type
from pik.planning.sql.payload import DIGITS
from pik.planning.sql.values import Sql

TIME = pa.timestamp("us", tz="UTC")


def result_rows(con: duckdb.DuckDBPyConnection, query: AggregateQuery, scales: Scales) -> pa.Table:
    """The result of the table `placed`: `bucket`, groups and measures under their names. Numbers are
    DECIMAL(38, scale), counts INT64; sorted by bucket and groups, NULL first."""
    return finished_rows(con, query, query.rows(scales), query.outputs(scales))


def finished_rows(
    con: duckdb.DuckDBPyConnection, query: AggregateQuery, result: str, outputs: Sequence[Sql]
) -> pa.Table:
    """The same of what `AggregateQuery.result` made of these outputs."""
    found = con.sql(result).to_arrow_table()
    columns = {BUCKET: found[BUCKET].cast(TIME)}
    for n, (column, sql) in enumerate(zip(query.columns, outputs, strict=True)):
        columns[column.name] = typed(found[f"column_{n}"], sql, is_count=column.is_count)
    return pa.table(columns)


def to_parquet(table: pa.Table) -> bytes:
    """Parquet with zstd. Raises nothing; the same table gives the same bytes."""
    sink = BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", compression_level=1)
    return sink.getvalue()


def from_parquet(body: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(body))


def typed(column: pa.ChunkedArray, sql: Sql, *, is_count: bool) -> pa.ChunkedArray:
    """A column as `Sql` says it, in the type that results and lists of inputs have for it."""
    if sql.type is Type.INSTANT:
        return column.cast(TIME)
    if sql.type is not Type.NUMBER or is_count:
        return column
    type_ = pa.decimal128(DIGITS, sql.scale)
    return pa.chunked_array([_at_scale(chunk, type_) for chunk in column.chunks], type_)


def _at_scale(integers: pa.Decimal128Array, type_: pa.Decimal128Type) -> pa.Decimal128Array:
    """HUGEINT comes as DECIMAL(38, 0); with its scale said, the same bits are the number."""
    return pa.Array.from_buffers(
        type_, len(integers), integers.buffers(), integers.null_count, integers.offset
    )
