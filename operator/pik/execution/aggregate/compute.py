"""Computing a version: the events that were known, and what an engine makes of them, kept for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

import msgspec

from pik.api.aggregate_version import KnownBy
from pik.domain.errors import AlreadyExists, NoSuchObject, NotReproducible
from pik.domain.instants import Instant
from pik.execution.aggregate.duckdb_engine import DuckDBEngine
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
from pik.execution.reading.snapshot import Snapshot, pinned_snapshot
from pik.execution.stream import Stream
from pik.planning.definitions import Definition

JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"


class Computed(Protocol):
    """A version that an engine has at hand. Its methods are work for the CPU."""

    @property
    def record(self) -> VersionRecord: ...

    def rows(self) -> bytes:
        """Parquet."""
        ...

    def is_same(self, kept: bytes) -> bool:
        """Whether these are the same rows, in whatever bytes."""
        ...

    def parts(self) -> Iterator[bytes]:
        """The inputs in order of their event ids, in Parquet."""
        ...


class Engine(Protocol):
    """Computes one definition."""

    def answer(
        self, stream: Stream, known: AsOf, snapshot: Snapshot
    ) -> AbstractAsyncContextManager[Computed]:
        """From the snapshot's segments. Raises UnreadableValue, naming an event, and OutOfMemory."""
        ...


async def compute(
    stream: Stream,
    definition: Definition,
    *,
    namespace: str,
    name: str,
    known_by: KnownBy = KnownBy.INGEST_TIME,
    as_of: Instant | None = None,
    memory: str | None = None,
    engine_of: Callable[[Definition, str | None], Engine] = DuckDBEngine,
) -> Answer:
    """The version that answers `definition` as known at `as_of`, computed and kept.

    `as_of` None: as known when this was first asked under this namespace and name. With
    `KnownBy.RECEIVED_TIME` an event counts as known from its received time on, or from its ingest time where
    its source said nothing. `memory`: as in `relation.connect`.

    Raises InvalidExpression and InvalidDefinition, naming the field; UnreadableValue, naming an event;
    OutOfMemory; NotReproducible where the version is kept with other rows; and what `pinned_snapshot` does.
    """
    engine = engine_of(definition, memory)
    _ = definition.zone  # that there is none is found out before anything is kept
    known = await resolve(stream, namespace, name, definition.hash, known_by, as_of)
    snapshot = await pinned_snapshot(stream, known.cut_instant)
    async with engine.answer(stream, known, snapshot) as computed:
        await _keep(stream, computed)
        record = computed.record
    await keep_as_of(stream, record.version, known)
    return Answer(record, known)


async def _keep(stream: Stream, computed: Computed) -> None:
    """Rows, inputs, record, in this order: where the record is, all is. Raises NotReproducible."""
    record = computed.record
    await _keep_rows(stream, computed)
    try:
        await stream.objects.stat(record_key(stream, record.version))
    except NoSuchObject:
        parts = computed.parts()
        number = 0
        while (part := await stream.offload(next, parts, None)) is not None:
            await _create(stream, inputs_key(stream, record.version, number), part, PARQUET)
            number += 1
        await _create(stream, record_key(stream, record.version), msgspec.json.encode(record), JSON)


async def _keep_rows(stream: Stream, computed: Computed) -> None:
    key = rows_key(stream, computed.record.version)
    body = await stream.offload(computed.rows)
    try:
        await stream.objects.create(key, body, PARQUET)
    except AlreadyExists:
        kept = (await stream.objects.read(key)).body
        # another release of the Parquet writer may have written the same rows in other bytes
        if kept != body and not await stream.offload(computed.is_same, kept):
            raise NotReproducible(
                f"{key}: the same events gave other rows than those that are kept; nothing was changed"
            ) from None


async def _create(stream: Stream, key: str, body: bytes, content_type: str) -> None:
    """What is there already follows from the version's name, but for where its events lay then."""
    with suppress(AlreadyExists):
        await stream.objects.create(key, body, content_type)
