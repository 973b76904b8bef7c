"""`ports.Selector` over a stream's segments, with DuckDB; for an entity of a stream that decides on write,
over those segments alone that the index names, and the most recent ones (design: Reading)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import duckdb
import pyarrow as pa

from pik.api.replay_job import Duplicates, TimeField
from pik.domain.errors import InvalidExpression
from pik.domain.instants import Instant, format_micros
from pik.domain.segments import SegmentEntry, SegmentID
from pik.execution.reading.relation import connect, open_arrivals, open_events
from pik.execution.stream import Deduplication, Stream
from pik.planning.replay.events import payload_bytes
from pik.planning.replay.plan import (
    Measure,
    ReplayPlan,
    holds_repeats,
    may_be_stale,
    may_hold,
    may_hold_newer,
    maybe_events,
    segments_to_read,
)
from pik.planning.replay.select_sql import (
    COUNT,
    STALE,
    Query,
    is_plain,
    repeats_query,
    shard_query,
    slice_table,
    tally,
)
from pik.planning.replay.spec import ReplaySpec
from pik.ports.selection import Measured

P = ParamSpec("P")
T = TypeVar("T")

TAIL = 900.0
"""Seconds for which the index by entity is not relied upon: it is eventually consistent."""

PIECE_ROWS = 10_000
PIECE_BYTES = 64 * 2**20  # of payloads
_UNKNOWN_LARGEST = 2**20  # bytes of a payload that are reckoned with
_LOOK_UP = 0.05  # seconds between two tries to interrupt a query


class DuckDBSelector:
    """`condition` makes SQL of a job's condition, or raises `InvalidExpression`. `memory`: as in
    `relation.connect`."""

    def __init__(
        self, stream: Stream, condition: Callable[[str], str], memory: str | None = None, tail: float = TAIL
    ) -> None:
        self._stream = stream
        self._condition = condition
        self._memory = memory
        self._tail = tail
        self._on_read = stream.deduplication is Deduplication.ON_READ
        # whether a repeat's event can be relied upon to be there: what expires is first the event, then that
        self._whole = self._on_read or stream.retention_days is None

    async def measure(self, spec: ReplaySpec, segments: Sequence[SegmentEntry]) -> Measured:
        condition = None if spec.where is None else self._condition(spec.where)
        by_index = not self._on_read and spec.entities is not None and spec.duplicates is Duplicates.FIRST
        if by_index:
            known = await self._of_entities(spec, segments)
            reads = [entry for entry in known if may_hold(spec, entry)]
            opened = known
        else:
            reads = segments_to_read(spec, segments, on_read=self._on_read)
            read = {entry.segment for entry in reads}
            opened = [e for e in segments if e.segment in read or self._counts(spec, e)]
        files = await self._stream.files.fetch(opened)
        stale_too = may_be_stale(spec, condition, segments)
        measure, stale = await self._stream.offload(
            self._count, spec, condition, files, by_index=by_index, stale_too=stale_too
        )
        return Measured(measure, tuple(reads), stale)

    async def read(self, plan: ReplayPlan, shard: int, start: int) -> AsyncIterator[pa.RecordBatch]:
        condition = None if plan.spec.where is None else self._condition(plan.spec.where)
        files = await self._stream.files.fetch(plan.reads)
        query = shard_query(plan.spec, condition, on_read=self._on_read, shard=shard, start=start)
        with closing(connect(self._memory)) as con:
            rows = _rows_at_once(plan.measure)
            reader = await self._in_thread(con, self._open, con, files, query, rows)
            while (piece := await self._in_thread(con, _next_piece, reader)) is not None:
                yield piece

    async def _in_thread(
        self, con: duckdb.DuckDBPyConnection, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """A step of a query. When it is cancelled, its thread is told and waited for: a connection that is at
        work cannot be closed."""
        step = asyncio.ensure_future(self._stream.offload(work, *args, **kwargs))
        try:
            return await asyncio.shield(step)
        except asyncio.CancelledError:
            while not step.done():  # an interrupt between two statements is lost
                con.interrupt()
                await asyncio.wait({step}, timeout=_LOOK_UP)
            raise

    async def _of_entities(self, spec: ReplaySpec, segments: Sequence[SegmentEntry]) -> list[SegmentEntry]:
        """The segments with events of these entities from the window on, by the index, and the recent ones,
        which it may not name yet."""
        start = spec.window.start if spec.time_field is TimeField.EVENT_TIME else None
        named: set[SegmentID] = set()
        for entity in spec.entities or ():
            async for reservation in self._stream.index.by_entity(entity, start, None):
                named.add(reservation.segment)
        recent = Instant(self._stream.clock.now().micros - round(self._tail * 1_000_000))
        return [
            entry
            for entry in segments
            if maybe_events(entry) > 0 and (entry.segment in named or entry.known_from >= recent)
        ]

    def _counts(self, spec: ReplaySpec, entry: SegmentEntry) -> bool:
        """Whether counting what is stale or repeated needs a segment that the slice does not."""
        if self._on_read:
            return maybe_events(entry) > 0
        return may_hold_newer(spec, entry) or holds_repeats(spec, entry)

    def _count(
        self,
        spec: ReplaySpec,
        condition: str | None,
        files: Sequence[Path],
        *,
        by_index: bool,
        stale_too: bool,
    ) -> tuple[Measure, tuple[str, ...]]:
        with closing(connect(self._memory)) as con:
            open_arrivals(con, files)
            open_events(con, self._stream.deduplication)
            if not stale_too and self._whole and is_plain(spec, condition):
                [tallied] = _run(con, tally(spec, on_read=self._on_read))
                return _measure(tallied[:-1], repeats=None if by_index else tallied[-1], stale=0), ()
            _run(con, slice_table(spec, condition, on_read=self._on_read))
            [counted] = _run(con, Query(COUNT, []))
            stale = tuple(entity for (entity,) in _run(con, Query(STALE, []))) if stale_too else ()
            repeats = None
            if not by_index and spec.duplicates is Duplicates.FIRST:
                [(repeats,)] = _run(con, repeats_query(spec, on_read=self._on_read))
            return _measure(counted, repeats=repeats, stale=len(stale)), stale

    def _open(
        self, con: duckdb.DuckDBPyConnection, files: Sequence[Path], query: Query, rows: int
    ) -> pa.RecordBatchReader:
        open_arrivals(con, files)
        open_events(con, self._stream.deduplication)
        try:
            return con.sql(query.sql, params=query.parameters).to_arrow_reader(rows)
        except duckdb.Error as error:
            raise _refused(error) from error


def _run(con: duckdb.DuckDBPyConnection, query: Query) -> list[tuple[Any, ...]]:
    try:
        rows: list[tuple[Any, ...]] = con.execute(query.sql, query.parameters).fetchall()
    except duckdb.Error as error:
        raise _refused(error) from error
    return rows


def _measure(counted: Sequence[Any], *, repeats: int | None, stale: int) -> Measure:
    """From the columns of select_sql's COUNT, and what was counted besides."""
    matched, size, largest, first, last = counted
    return Measure(
        matched=matched,
        bytes=size,
        first_event_time=None if first is None else format_micros(first),
        last_event_time=None if last is None else format_micros(last),
        repeats=repeats,
        stale=stale,
        largest=largest,
    )


def _next_piece(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
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


def _refused(error: Exception) -> InvalidExpression:
    # what a condition says itself speaks of paths and types; DuckDB's own words may quote a payload
    said = str(error).splitlines()[0] if isinstance(error, duckdb.InvalidInputException) else ""
    return InvalidExpression(
        f"the condition cannot be evaluated over the data: {said or type(error).__name__}"
    )
