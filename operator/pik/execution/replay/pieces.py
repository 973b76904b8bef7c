"""Queries in DuckDB whose rows come piece by piece, off the event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import duckdb
import pyarrow as pa

from pik.domain.errors import InvalidExpression, OutOfMemory, PikError
from pik.execution.reading.threads import in_thread
from pik.execution.stream import Stream
from pik.planning.replay.events import payload_bytes
from pik.planning.replay.plan import Measure
from pik.planning.replay.select_sql import Query

PIECE_ROWS = 10_000
PIECE_BYTES = 64 * 2**20  # of payloads
_UNKNOWN_LARGEST = 2**20  # bytes of a payload that are reckoned with


async def pieces(
    stream: Stream, con: duckdb.DuckDBPyConnection, query: Query, measure: Measure
) -> AsyncGenerator[pa.RecordBatch, None]:
    """The rows of a query, some `PIECE_ROWS` or `PIECE_BYTES` at a time; no piece is empty. `measure`: of the
    slice that they are of. Raises `InvalidExpression` and `OutOfMemory`."""
    reader = await in_thread(stream, con, _begun, con, query, _rows_at_once(measure))
    while (piece := await in_thread(stream, con, _next, reader)) is not None:
        yield piece


def run(con: duckdb.DuckDBPyConnection, query: Query) -> list[tuple[Any, ...]]:
    """All rows of a query. Raises `InvalidExpression` and `OutOfMemory`."""
    try:
        rows: list[tuple[Any, ...]] = con.execute(query.sql, query.parameters).fetchall()
    except duckdb.Error as error:
        raise _refused(error) from error
    return rows


def _begun(con: duckdb.DuckDBPyConnection, query: Query, rows: int) -> pa.RecordBatchReader:
    try:
        return con.sql(query.sql, params=query.parameters).to_arrow_reader(rows)
    except duckdb.Error as error:
        raise _refused(error) from error


def _next(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    """The next rows; None at the end."""
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    try:
        while rows < PIECE_ROWS and size < PIECE_BYTES:
            batches.append(reader.read_next_batch())
            rows += batches[-1].num_rows
            size += payload_bytes(batches[-1])
    except StopIteration:
        if rows == 0:
            return None
    except (pa.ArrowException, duckdb.Error) as error:
        raise _refused(error) from error
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _rows_at_once(measure: Measure) -> int:
    """Rows of one batch of DuckDB's, so that it is not much larger than a piece whatever is in it."""
    return max(1, min(PIECE_ROWS, PIECE_BYTES // max(1, measure.largest or _UNKNOWN_LARGEST)))


def _refused(error: Exception) -> PikError:
    if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory" in str(error).partition("\n")[0]:
        return OutOfMemory("selecting the events needs more memory than it is given")
    # what a condition says itself speaks of paths and types; DuckDB's own words may quote a payload
    said = str(error).splitlines()[0] if isinstance(error, duckdb.InvalidInputException) else ""
    return InvalidExpression(
        f"the condition cannot be evaluated over the data: {said or type(error).__name__}"
    )
