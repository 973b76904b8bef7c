"""A version as DuckDB computes it: its hash, its rows, its inputs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from pik.domain.errors import OutOfMemory
from pik.execution.aggregate.listing import Listed, list_inputs
from pik.execution.aggregate.records import AsOf, VersionRecord
from pik.execution.aggregate.segments import segments_to_read
from pik.execution.aggregate.selection import condition, exactly, place, select
from pik.execution.aggregate.tables import from_parquet, result_rows, to_parquet
from pik.execution.reading.relation import connect, open_arrivals, open_events
from pik.execution.reading.snapshot import Snapshot
from pik.execution.reading.threads import in_thread
from pik.execution.stream import Stream
from pik.planning.aggregate_sql import AggregateQuery, query_of
from pik.planning.definitions import Definition, version_of


class DuckDBEngine:
    """Computes one definition. `memory`: as in `relation.connect`."""

    def __init__(self, definition: Definition, memory: str | None = None) -> None:
        """Raises InvalidExpression and InvalidDefinition, naming the field."""
        self._query = query_of(definition)
        self._memory = memory

    @asynccontextmanager
    async def answer(self, stream: Stream, known: AsOf, snapshot: Snapshot) -> AsyncIterator[DuckDBAnswer]:
        """What it comes to, as long as the connection is open. Raises UnreadableValue, naming an event, and
        OutOfMemory."""
        files = await stream.files.fetch(segments_to_read(stream, self._query.definition, snapshot))
        try:
            with closing(connect(self._memory)) as con, TemporaryDirectory(prefix="pik-") as folder:
                yield await in_thread(
                    stream, con, _answer, con, stream, self._query, known, files, Path(folder)
                )
        except duckdb.OutOfMemoryException as error:
            raise OutOfMemory(
                f"it needs more memory than the {self._memory or 'machine'} that it is given"
            ) from error


class DuckDBAnswer:
    """`compute.Computed` whose list of inputs lies in files."""

    def __init__(self, record: VersionRecord, rows: pa.Table, parts: Sequence[Path]) -> None:
        self._rows = rows
        self._parts = parts
        self.record = record

    def rows(self) -> bytes:
        return to_parquet(self._rows)

    def is_same(self, kept: bytes) -> bool:
        return bool(from_parquet(kept).equals(self._rows))

    def parts(self) -> Iterator[bytes]:
        return map(Path.read_bytes, self._parts)


def _answer(
    con: duckdb.DuckDBPyConnection,
    stream: Stream,
    query: AggregateQuery,
    known: AsOf,
    files: Sequence[Path],
    folder: Path,
) -> DuckDBAnswer:
    segments = open_arrivals(con, files)
    open_events(con, stream.deduplication)
    open_columns = query.open_columns(stream.fingerprint_exclude)
    select(con, query, condition(query, known), open_columns)
    scales = place(con, query)
    with exactly("groupBy"):
        listed = list_inputs(con, query, scales, open_columns, segments, folder)
    with exactly("measures"):
        rows = result_rows(con, query, scales)
    return DuckDBAnswer(record_of(query.definition, listed, rows.num_rows), rows, listed.parts)


def record_of(definition: Definition, listed: Listed, rows: int) -> VersionRecord:
    return VersionRecord(
        version=version_of(definition.hash, listed.hash),
        definition_hash=definition.hash,
        inputs_hash=listed.hash,
        definition=definition,
        input_count=listed.count,
        input_parts=len(listed.parts),
        row_count=rows,
        sample_event_ids=listed.first,
    )
