"""What the simulation puts in the place of DuckDB and Parquet files: plain Python over the segments' rows.

Which segments are read, by whom and when, what is planned, pinned, recorded and sent stays the engine's own.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pik.domain.arrivals import Arrival, Outcome
from pik.domain.errors import Incomplete, NoSuchObject, Tampered
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry
from pik.execution.aggregate.records import AsOf, VersionRecord
from pik.execution.aggregate.segments import segments_to_read as segments_of_aggregate
from pik.execution.reading.snapshot import Snapshot
from pik.execution.stream import Deduplication, Stream
from pik.planning.definitions import Definition, version_of
from pik.planning.replay.plan import Measure, ReplayPlan, segments_to_read
from pik.planning.replay.spec import ReplaySpec
from pik.ports.objects import ObjectStore
from pik.ports.segments import SegmentCodec
from pik.ports.selection import Measured, Selector
from replay.slices import ListSelector, ReplayEvent


@dataclass(frozen=True)
class Event:
    """An arrival that is an event, and where it lies."""

    ingest_time: Instant
    segment: str
    row: int
    arrival: Arrival

    @property
    def place(self) -> tuple[Instant, str, int]:
        return (self.ingest_time, self.segment, self.row)

    @property
    def order(self) -> tuple[Instant, Instant, str]:
        """EntityTime."""
        return (self.arrival.event_time, self.ingest_time, self.arrival.event_id)


class PlainFiles:
    """`ports.SegmentFiles` of one process: it reads each segment once, and checks it as SegmentCache does."""

    directory: Path | None = None

    def __init__(self, objects: ObjectStore, codec: SegmentCodec) -> None:
        self._objects = objects
        self._codec = codec
        self._bodies: dict[Path, bytes] = {}

    async def fetch(self, entries: Sequence[SegmentEntry]) -> list[Path]:
        return [await self._one(entry) for entry in entries]

    async def _one(self, entry: SegmentEntry) -> Path:
        path = Path(str(entry.segment))
        if path not in self._bodies:
            try:
                stored = await self._objects.read(entry.key)
            except NoSuchObject as error:
                raise Incomplete(f"the segment {entry.key} is gone") from error
            if sha256(stored.body).hexdigest() != entry.sha256:
                raise Tampered(f"{entry.key}: its bytes are not those that were recorded of it")
            self._bodies[path] = stored.body
        return path

    def events(self, paths: Sequence[Path], deduplication: Deduplication) -> list[Event]:
        """By the first-arrival rule."""
        wanted = (
            (Outcome.ACCEPTED,)
            if deduplication is Deduplication.ON_WRITE
            else (Outcome.RECORDED, Outcome.REPLAYED)
        )
        found = []
        for path in paths:
            head, rows = self._codec.decode(self._bodies[path])
            found += [
                Event(head.ingest_time, str(head.segment), row.row, row.arrival)
                for row in rows
                if row.outcome in wanted
            ]
        if deduplication is Deduplication.ON_WRITE:
            return found
        first: dict[str, Event] = {}
        for event in sorted(found, key=lambda event: event.place):
            first.setdefault(event.arrival.event_id, event)
        return list(first.values())


class PlainSelector:
    """`ports.Selector`: a window of event time, in EntityTime order."""

    def __init__(self, stream: Stream, piece: int = 3) -> None:
        self._stream = stream
        self._piece = piece

    async def measure(self, spec: ReplaySpec, segments: Sequence[SegmentEntry]) -> Measured:
        on_read = self._stream.deduplication is Deduplication.ON_READ
        reads = segments_to_read(spec, segments, on_read=on_read)
        slice_ = await self._slice(spec, reads)
        size = sum(len(event.arrival.data) for event in slice_)
        return Measured(Measure(len(slice_), size, None, None, None, 0), tuple(reads), ())

    async def read(self, plan: ReplayPlan, shard: int, start: int) -> AsyncIterator[Any]:
        events = [_replay_event(event) for event in await self._slice(plan.spec, plan.reads)]
        async for piece in ListSelector(events, piece=self._piece).read(plan, shard, start):
            yield piece

    @asynccontextmanager
    async def together(self, plan: ReplayPlan) -> AsyncIterator[Selector]:
        yield self

    async def _slice(self, spec: ReplaySpec, entries: Sequence[SegmentEntry]) -> list[Event]:
        files = self._stream.files
        assert isinstance(files, PlainFiles)
        window = spec.window
        found = files.events(await files.fetch(entries), self._stream.deduplication)
        chosen = [event for event in found if event.arrival.event_time in window]
        return sorted(chosen, key=lambda event: event.order)


def _replay_event(event: Event) -> ReplayEvent:
    arrival = event.arrival
    return ReplayEvent(
        event_id=arrival.event_id,
        source=arrival.source,
        event_type=arrival.event_type,
        entity_id=arrival.entity_id,
        event_micros=arrival.event_time.micros,
        event_time_rest=arrival.event_time.rest,
        event_time_text=arrival.event_time_text,
        idempotency_key=arrival.idempotency_key,
        attributes=arrival.attributes,
        data=arrival.data,
        segment=event.segment,
        row=event.row,
        repeat=False,
    )


class PlainEngine:
    """`execution.aggregate.compute.Engine`: it counts by entity, whatever the measures are."""

    def __init__(self, definition: Definition, memory: str | None = None) -> None:
        self._definition = definition

    @asynccontextmanager
    async def answer(self, stream: Stream, known: AsOf, snapshot: Snapshot) -> AsyncIterator[PlainAnswer]:
        there = stream.files
        assert isinstance(there, PlainFiles)
        window = self._definition.span
        files = await there.fetch(segments_of_aggregate(stream, self._definition, snapshot))
        found = there.events(files, stream.deduplication)
        chosen = [event.arrival for event in found if event.arrival.event_time in window]
        yield PlainAnswer(self._definition, sorted(chosen, key=lambda arrival: arrival.event_id))


class PlainAnswer:
    """`execution.aggregate.compute.Computed`."""

    def __init__(self, definition: Definition, arrivals: Sequence[Arrival]) -> None:
        """`arrivals`: the inputs in order of their event ids."""
        self._arrivals = arrivals
        inputs = inputs_hash(arrivals)
        self.record = VersionRecord(
            version=version_of(definition.hash, inputs),
            definition_hash=definition.hash,
            inputs_hash=inputs,
            definition=definition,
            input_count=len(arrivals),
            input_parts=1,
            row_count=len({arrival.entity_id for arrival in arrivals}),
            sample_event_ids=tuple(arrival.event_id for arrival in arrivals[:10]),
        )

    def rows(self) -> bytes:
        return rows_of(self._arrivals)

    def is_same(self, kept: bytes) -> bool:
        return kept == self.rows()

    def parts(self) -> Iterator[bytes]:
        yield json.dumps([arrival.event_id for arrival in self._arrivals]).encode()


def inputs_hash(arrivals: Sequence[Arrival]) -> str:
    """Of the inputs in order of their event ids (design: Definitions, inputs hash)."""
    lines = [arrival.event_id + arrival.fingerprint for arrival in arrivals]
    return sha256("\n".join(lines).encode()).hexdigest()


def rows_of(arrivals: Sequence[Arrival]) -> bytes:
    """How many inputs each entity has, and a checksum of their payloads."""
    counts: dict[str, int] = {}
    payloads: dict[str, int] = {}
    for arrival in arrivals:
        counts[arrival.entity_id] = counts.get(arrival.entity_id, 0) + 1
        payloads[arrival.entity_id] = payloads.get(arrival.entity_id, 0) + int(arrival.payload_sha256[:8], 16)
    return json.dumps([[entity, counts[entity], payloads[entity]] for entity in sorted(counts)]).encode()
