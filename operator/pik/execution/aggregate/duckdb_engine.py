"""A version as DuckDB computes it: its hash, its rows, its inputs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import duckdb
import pyarrow as pa

from pik.domain.errors import OutOfMemory
from pik.execution.aggregate.records import AsOf, VersionRecord
from pik.execution.aggregate.selection import condition, exactly, place, select
from pik.execution.aggregate.tables import (
    PART,
    from_parquet,
    hash_inputs,
    input_parts,
    result_rows,
    to_parquet,
)
from pik.execution.reading.relation import connect, open_arrivals, open_events
from pik.execution.stream import Stream
from pik.planning.aggregate_sql import AggregateQuery, Scales, query_of
from pik.planning.definitions import Definition, version_of


class DuckDBEngine:
    """Computes one definition. `memory`: DuckDB's limit, such as `512MB`."""

    def __init__(self, definition: Definition, memory: str | None = None) -> None:
        """Raises InvalidExpression and InvalidDefinition, naming the field."""
        self._query = query_of(definition)
        self._memory = memory

    @asynccontextmanager
    async def answer(self, stream: Stream, known: AsOf, files: Sequence[Path]) -> AsyncIterator[DuckDBAnswer]:
        """What it comes to, as long as the connection is open. Raises UnreadableValue, naming an event, and
        OutOfMemory."""
        try:
            with closing(connect(self._memory)) as con:
                yield await stream.offload(_answer, con, stream, self._query, known, files)
        except duckdb.OutOfMemoryException as error:
            raise OutOfMemory(
                f"it needs more memory than the {self._memory or 'machine'} that it is given"
            ) from error


class DuckDBAnswer:
    """`compute.Computed` over the table `placed` of an open connection."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        query: AggregateQuery,
        scales: Scales,
        record: VersionRecord,
        rows: pa.Table,
    ) -> None:
        self._con = con
        self._query = query
        self._scales = scales
        self._rows = rows
        self.record = record

    def rows(self) -> bytes:
        return to_parquet(self._rows)

    def is_same(self, kept: bytes) -> bool:
        return bool(from_parquet(kept).equals(self._rows))

    def parts(self) -> Iterator[bytes]:
        return map(to_parquet, input_parts(self._con, self._query, self._scales))


def _answer(
    con: duckdb.DuckDBPyConnection,
    stream: Stream,
    query: AggregateQuery,
    known: AsOf,
    files: Sequence[Path],
) -> DuckDBAnswer:
    open_arrivals(con, files)
    open_events(con, stream.deduplication)
    select(con, query, condition(query, known))
    scales = place(con, query)
    with exactly("measures"):
        rows = result_rows(con, query, scales)
    inputs_hash, count, first = hash_inputs(con, query.open_columns(stream.fingerprint_exclude))
    definition = query.definition
    record = VersionRecord(
        version=version_of(definition.hash, inputs_hash),
        definition_hash=definition.hash,
        inputs_hash=inputs_hash,
        definition=definition,
        input_count=count,
        input_parts=max(1, -(-count // PART)),
        row_count=rows.num_rows,
        sample_event_ids=first,
    )
    return DuckDBAnswer(con, query, scales, record, rows)
