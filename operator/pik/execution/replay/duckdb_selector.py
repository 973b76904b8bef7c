"""`ports.Selector` over a stream's segments, with DuckDB; for entities, over those alone that decide their
slice: by the index, and the most recent ones (design: Reading), or where reading decides by `narrowing`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pik.api.replay_job import Duplicates, TimeField
from pik.domain.instants import Instant, format_micros
from pik.domain.segments import SegmentEntry, SegmentID
from pik.execution.reading.relation import connect, open_arrivals, open_events
from pik.execution.reading.threads import in_thread
from pik.execution.replay.narrowing import deciding
from pik.execution.replay.pieces import pieces, run
from pik.execution.replay.shapes import shapes_in
from pik.execution.stream import Deduplication, Stream
from pik.planning.memory import duckdb_limit, memory_bytes
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
    selected_query,
    selected_table,
    shard_query,
    slice_table,
    tally,
)
from pik.planning.replay.spec import ReplaySpec
from pik.ports.selection import Measured, Selector

TAIL = 900.0
"""Seconds for which the index by entity is not relied upon: it is eventually consistent."""


_ROW_BYTES = 1_024  # of an event in memory besides its payload
_COPIES = 4  # of the slice that shards which share it may have in memory together
_UNBOUNDED = 4 * 2**30  # bytes that are shared where no bound is set


class DuckDBSelector:
    """`condition` makes SQL of a job's condition, or raises `InvalidExpression`. `memory`: as in
    `relation.connect`."""

    def __init__(
        self, stream: Stream, condition: Callable[[str], str], memory: str | None = None, tail: float = TAIL
    ) -> None:
        self.stream = stream
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
            if self._on_read and spec.entities is not None:
                segments = await deciding(self.stream, spec.entities, segments, self._memory)
            reads = segments_to_read(spec, segments, on_read=self._on_read)
            read = {entry.segment for entry in reads}
            opened = [e for e in segments if e.segment in read or self._counts(spec, e)]
        files = await self.stream.files.fetch(opened)
        stale_too = may_be_stale(spec, condition, segments)
        measure, stale = await self.stream.offload(
            self._count, spec, condition, files, by_index=by_index, stale_too=stale_too
        )
        shapes = await self.stream.offload(shapes_in, spec.event_types, reads, files)
        return Measured(measure, tuple(reads), stale, shapes)

    async def read(self, plan: ReplayPlan, shard: int, start: int) -> AsyncIterator[pa.RecordBatch]:
        condition = None if plan.spec.where is None else self._condition(plan.spec.where)
        files = await self.stream.files.fetch(plan.reads)
        query = shard_query(plan.spec, condition, on_read=self._on_read, shard=shard, start=start)
        with closing(connect(self._memory)) as con:
            await in_thread(self.stream, con, self._open, con, files, plan.spec)
            async with aclosing(pieces(self.stream, con, query, plan.measure)) as read:
                async for piece in read:
                    yield piece

    @asynccontextmanager
    async def together(self, plan: ReplayPlan) -> AsyncIterator[Selector]:
        if plan.spec.shards == 1 or not _fits_in_memory(plan.measure, self._memory):
            yield self
            return
        with ExitStack() as opened:
            yield _Together(self, opened)

    async def selected(self, plan: ReplayPlan) -> duckdb.DuckDBPyConnection:
        """A connection with the plan's slice as the table `selected`."""
        condition = None if plan.spec.where is None else self._condition(plan.spec.where)
        files = await self.stream.files.fetch(plan.reads)
        query = selected_table(plan.spec, condition, on_read=self._on_read)
        with ExitStack() as failing:
            con = failing.enter_context(closing(connect(self._memory)))
            await in_thread(self.stream, con, self._open, con, files, plan.spec)
            await in_thread(self.stream, con, run, con, query)
            failing.pop_all()
        return con

    async def _of_entities(self, spec: ReplaySpec, segments: Sequence[SegmentEntry]) -> list[SegmentEntry]:
        """The segments with events of these entities from the window on, by the index, and the recent ones,
        which it may not name yet."""
        start = spec.window.start if spec.time_field is TimeField.EVENT_TIME else None
        named: set[SegmentID] = set()
        for entity in spec.entities or ():
            async for reservation in self.stream.index.by_entity(entity, start, None):
                named.add(reservation.segment)
        recent = Instant(self.stream.clock.now().micros - round(self._tail * 1_000_000))
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
            open_events(con, self.stream.deduplication)
            if not stale_too and self._whole and is_plain(spec, condition):
                [tallied] = run(con, tally(spec, on_read=self._on_read))
                return _measure(tallied[:-1], repeats=None if by_index else tallied[-1], stale=0), ()
            run(con, slice_table(spec, condition, on_read=self._on_read))
            [counted] = run(con, Query(COUNT, []))
            stale = tuple(entity for (entity,) in run(con, Query(STALE, []))) if stale_too else ()
            repeats = None
            if not by_index and spec.duplicates is Duplicates.FIRST:
                [(repeats,)] = run(con, repeats_query(spec, on_read=self._on_read))
            return _measure(counted, repeats=repeats, stale=len(stale)), stale

    def _open(self, con: duckdb.DuckDBPyConnection, files: Sequence[Path], spec: ReplaySpec) -> None:
        open_arrivals(con, files, headers=bool(spec.target.headers))
        open_events(con, self.stream.deduplication)


class _Together:
    """The shards of one plan over one connection, in which its slice is a table. `opened` closes it."""

    def __init__(self, selector: DuckDBSelector, opened: ExitStack) -> None:
        self._selector = selector
        self._opened = opened
        self._selecting = asyncio.Lock()
        self._con: duckdb.DuckDBPyConnection | None = None

    async def measure(self, spec: ReplaySpec, segments: Sequence[SegmentEntry]) -> Measured:
        return await self._selector.measure(spec, segments)

    async def read(self, plan: ReplayPlan, shard: int, start: int) -> AsyncIterator[pa.RecordBatch]:
        async with self._selecting:
            if self._con is None:
                self._con = self._opened.enter_context(closing(await self._selector.selected(plan)))
        query = selected_query(plan.spec, shard=shard, start=start)
        with closing(self._con.cursor()) as con:
            async with aclosing(pieces(self._selector.stream, con, query, plan.measure)) as read:
                async for piece in read:
                    yield piece

    @asynccontextmanager
    async def together(self, plan: ReplayPlan) -> AsyncIterator[Selector]:  # noqa: ARG002 - it is of one already
        yield self


def _fits_in_memory(measure: Measure, memory: str | None) -> bool:
    """Whether a slice can be a table, and be sorted as well: all shards have their sorted part at once."""
    limit = _UNBOUNDED if memory is None else duckdb_limit(memory_bytes(memory))
    return _COPIES * (measure.bytes + measure.matched * _ROW_BYTES) <= limit


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
