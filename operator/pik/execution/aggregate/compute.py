"""Computing a version: the events that were known, their hash, their rows, kept for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa

from pik.api.aggregate_version import KnownBy
from pik.domain.errors import AlreadyExists, NoSuchObject, NotReproducible, OutOfMemory
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry
from pik.execution.aggregate.records import (
    Answer,
    AsOf,
    VersionRecord,
    inputs_key,
    keep_as_of,
    record_key,
    resolve,
    rows_key,
)
from pik.execution.aggregate.selection import condition, exactly, may_hold, place, select
from pik.execution.aggregate.tables import (
    PART,
    from_parquet,
    hash_inputs,
    input_parts,
    result_rows,
    to_parquet,
)
from pik.execution.reading.relation import connect, open_arrivals, open_events
from pik.execution.reading.snapshot import Snapshot, pinned_snapshot
from pik.execution.stream import Deduplication, Stream
from pik.planning.aggregate_sql import AggregateQuery, Scales, query_of
from pik.planning.definitions import Definition, version_of

JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"


async def compute(
    stream: Stream,
    definition: Definition,
    *,
    namespace: str,
    name: str,
    known_by: KnownBy = KnownBy.INGEST_TIME,
    as_of: Instant | None = None,
    memory: str | None = None,
) -> Answer:
    """The version that answers `definition` as known at `as_of`, computed and kept.

    `as_of` None: as known when this was first asked under this namespace and name. With
    `KnownBy.RECEIVED_TIME` an event counts as known from its received time on, or from its ingest time where
    its source said nothing. `memory`: DuckDB's limit, such as `512MB`.

    Raises InvalidExpression and InvalidDefinition, naming the field; UnreadableValue, naming an event;
    OutOfMemory; NotReproducible where the version is kept with other rows; and what `pinned_snapshot` does.
    """
    query = query_of(definition)
    _ = definition.zone  # that there is none is found out before anything is kept
    known = await resolve(stream, namespace, name, definition.hash, known_by, as_of)
    snapshot = await pinned_snapshot(stream, known.cut_instant)
    files = await stream.files.fetch(segments_to_read(stream, query, snapshot))
    try:
        with closing(connect(memory)) as con:
            record, rows, scales = await stream.offload(_answer, con, stream, query, known, files)
            await _keep(stream, con, query, scales, record, rows)
    except duckdb.OutOfMemoryException as error:
        raise OutOfMemory(f"it needs more memory than the {memory or 'machine'} that it is given") from error
    await keep_as_of(stream, record.version, known)
    return Answer(record, known)


def segments_to_read(stream: Stream, query: AggregateQuery, snapshot: Snapshot) -> list[SegmentEntry]:
    """Those that may decide what is in the window. Where reading decides which arrival is the event, that is
    all: the first arrival of an event in the window may have another event time."""
    if stream.deduplication is Deduplication.ON_READ:
        return [entry for entry in snapshot.segments if entry.rows]
    return [entry for entry in snapshot.segments if may_hold(query, entry)]


def _answer(
    con: duckdb.DuckDBPyConnection, stream: Stream, query: AggregateQuery, known: AsOf, files: list[Path]
) -> tuple[VersionRecord, pa.Table, Scales]:
    """Leaves the table `placed` in the connection."""
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
    return record, rows, scales


async def _keep(
    stream: Stream,
    con: duckdb.DuckDBPyConnection,
    query: AggregateQuery,
    scales: Scales,
    record: VersionRecord,
    rows: pa.Table,
) -> None:
    """Rows, inputs, record, in this order: where the record is, all is. Raises NotReproducible."""
    await _keep_rows(stream, record.version, rows)
    try:
        await stream.objects.stat(record_key(stream, record.version))
    except NoSuchObject:
        parts = input_parts(con, query, scales)
        number = 0
        while (part := await stream.offload(_next_part, parts)) is not None:
            await _create(stream, inputs_key(stream, record.version, number), part, PARQUET)
            number += 1
        await _create(stream, record_key(stream, record.version), msgspec.json.encode(record), JSON)


async def _keep_rows(stream: Stream, version: str, rows: pa.Table) -> None:
    key = rows_key(stream, version)
    body = await stream.offload(to_parquet, rows)
    try:
        await stream.objects.create(key, body, PARQUET)
    except AlreadyExists:
        kept = (await stream.objects.read(key)).body
        # another release of the Parquet writer may have written the same rows in other bytes
        if kept != body and not (await stream.offload(from_parquet, kept)).equals(rows):
            raise NotReproducible(
                f"{key}: the same events gave other rows than those that are kept; nothing was changed"
            ) from None


async def _create(stream: Stream, key: str, body: bytes, content_type: str) -> None:
    """What is there already follows from the version's name, but for where its events lay then."""
    with suppress(AlreadyExists):
        await stream.objects.create(key, body, content_type)


def _next_part(parts: Iterator[pa.Table]) -> bytes | None:
    part = next(parts, None)
    return None if part is None else to_parquet(part)
