"""The list of a version's inputs, in order of their event ids, and the hash that names the version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pik.execution.aggregate.tables import TIME, typed
from pik.planning.aggregate_sql import BUCKET, AggregateQuery, Scales
from pik.planning.json_columns import joined, lines

PART = 1_000_000  # inputs in one object
_BATCH = 100_000  # rows
_SAMPLE = 10  # ids that a version's record names
_REPEATING = ["event_time_rest", "received_time_rest", "segment"]  # in many rows the same


class Listed(msgspec.Struct, frozen=True):
    """`hash`: SHA-256 (hex) over a line of each input: its id, its fingerprint, and what the result depends
    on besides. `parts`: Parquet files in their order, one at least."""

    hash: str
    count: int
    first: tuple[str, ...]  # ids
    parts: tuple[Path, ...]


def list_inputs(
    con: duckdb.DuckDBPyConnection,
    query: AggregateQuery,
    scales: Scales,
    open_columns: Sequence[str],
    segments: Sequence[str],
    folder: Path,
    part: int = PART,
) -> Listed:
    """Of the view `placed`, in one pass. `segments`: as `open_arrivals` told them; `folder`: where the files
    go, with `part` inputs in each but the last. Their columns: `event_id`, `fingerprint`, times, place
    (`segment`, `row`), `bucket` and `group_<n>`."""
    reader = con.sql(query.inputs(open_columns)).to_arrow_reader(_BATCH)
    names = pa.array(segments, pa.string())
    groups = query.outputs(scales)[: len(query.groups)]

    def inputs(batch: pa.RecordBatch) -> pa.Table:
        """As they are listed."""
        arrival = batch.column("arrival")
        columns: dict[str, Any] = {
            name: batch.column(name).cast(TIME) if name.endswith("_time") else batch.column(name)
            for name in batch.schema.names
            if name != "arrival" and not name.startswith(("group_", "open_"))
        }
        columns["segment"] = names.take(pc.shift_right(arrival, 32))
        columns["row"] = pc.bit_wise_and(arrival, 0xFFFFFFFF).cast(pa.int32())
        columns[BUCKET] = columns.pop(BUCKET).cast(TIME)
        for n, sql in enumerate(groups):
            columns[f"group_{n}"] = typed(pa.chunked_array([batch.column(f"group_{n}")]), sql, is_count=False)
        return pa.table(columns)

    digest, count = sha256(), 0
    first: tuple[str, ...] = ()
    parts = _Parts(folder, part)
    try:
        for batch in _batches(reader):
            if count == 0:
                first = tuple(batch.column("event_id")[:_SAMPLE].to_pylist())
            digest.update(_lines(batch))
            count += batch.num_rows
            parts.add(inputs(batch))
    finally:
        parts.close()
    return Listed(digest.hexdigest(), count, first, tuple(parts.files))


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """One at least."""
    first = next(reader, None)
    yield pa.RecordBatch.from_pylist([], reader.schema) if first is None else first
    yield from reader


class _Parts:
    """Writes rows into one file after the other."""

    def __init__(self, folder: Path, part: int) -> None:
        self._folder = folder
        self._part = part
        self._room = 0  # rows that still go into the last file
        self._writer: pq.ParquetWriter | None = None
        self.files: list[Path] = []

    def add(self, rows: pa.Table) -> None:
        """Rows may be none: there is a file all the same."""
        writer = self._writer or self._begin(rows.schema)
        while rows.num_rows:
            if not self._room:
                writer = self._begin(rows.schema)
            some = rows.slice(0, self._room)
            writer.write_table(some)
            self._room -= some.num_rows
            rows = rows.slice(some.num_rows)

    def _begin(self, schema: pa.Schema) -> pq.ParquetWriter:
        self.close()
        self.files.append(self._folder / f"{len(self.files):05d}.parquet")
        groups = [name for name in schema.names if name.startswith("group_")]
        self._writer = pq.ParquetWriter(
            self.files[-1],
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[*_REPEATING, BUCKET, *groups],
        )
        self._room = self._part
        return self._writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _lines(batch: pa.RecordBatch) -> memoryview:
    """The lines of these inputs, one after the other."""
    values = (batch.column(name) for name in batch.schema.names if name.startswith("open_"))
    columns = (batch.column("event_id"), batch.column("fingerprint"), *values)
    return lines(joined(*[part for column in columns for part in (column, " ")][:-1], "\n"))
