"""A stream over in-memory ports, and segments put into it by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.identity import event_id, fingerprint
from pik.domain.instants import Instant
from pik.domain.layout import Layout, segment_id
from pik.domain.segments import SegmentEntry, SegmentHead
from pik.execution.parquet import ParquetCodec
from pik.execution.reading.describe import describe_segment
from pik.execution.reindex import reindex
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from pik.memory.index import MemoryIndex, MemoryTable
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.memory.system import InlineOffload, ManualClock, SeededEntropy
from pik.ports.objects import StoredObject

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
START = Instant(1_764_000_000_000_000 // DAY * DAY + 10 * HOUR)  # some day, ten in the morning


def after(seconds: float, since: Instant = START) -> Instant:
    return Instant(since.micros + round(seconds * SECOND))


@dataclass
class World:
    stream: Stream
    bucket: MemoryBucket
    table: MemoryTable
    clock: ManualClock

    async def land(
        self, rows: Iterable[Row], *, at: Instant, generation: int = 1, indexed: bool = True
    ) -> SegmentEntry:
        """PUTs a segment stamped `at`, now; and its manifest row."""
        stream = self.stream
        segment = segment_id(at, stream.entropy.hex(20), generation)
        head = SegmentHead(stream.layout.stream_id, segment, at)
        key = stream.layout.segment(segment)
        body = stream.codec.encode(head, list(rows))
        await stream.objects.create(key, body)
        entry = describe_segment(key, body, stream.codec, (await stream.objects.stat(key)).last_modified)
        if indexed:
            await stream.index.put_segment(entry, generation)
        return entry

    def put(self, rows: Iterable[Row], *, at: Instant, generation: int) -> None:
        """The object of a segment, and nothing else."""
        stream = self.stream
        segment = segment_id(at, stream.entropy.hex(20), generation)
        body = stream.codec.encode(SegmentHead(stream.layout.stream_id, segment, at), list(rows))
        self.bucket.objects[stream.layout.segment(segment)] = StoredObject(body, "etag", self.clock.now())

    async def ready(self) -> None:
        await reindex(self.stream, self.table.ensure)


async def world(
    directory: Path,
    deduplication: Deduplication = Deduplication.ON_WRITE,
    retention_days: int | None = None,
) -> World:
    """A stream whose index is ready, at generation 1. Its clock stands at START."""
    clock = ManualClock(START)
    bucket, table = MemoryBucket(), MemoryTable()
    objects = MemoryObjectStore(bucket, clock, page=3)
    stream = Stream(
        namespace="tests",
        name="things",
        layout=Layout("some/prefix/", "stream1"),
        deduplication=deduplication,
        retention_days=retention_days,
        fingerprint_exclude=(),
        objects=objects,
        index=MemoryIndex(table, page=3),
        files=SegmentCache(objects, directory, InlineOffload()),
        codec=ParquetCodec(),
        clock=clock,
        entropy=SeededEntropy(1),
        offload=InlineOffload(),
    )
    made = World(stream, bucket, table, clock)
    await made.ready()
    return made


def arrival(
    key: str,
    event_time: Instant = START,
    data: bytes = b"{}",
    *,
    source: str = "sensors",
    event_type: str = "reading",
    entity_id: str = "e1",
    received_time: Instant | None = None,
    replay_of: str | None = None,
) -> Arrival:
    content = fingerprint(event_type, entity_id, event_time, data)
    return Arrival(
        event_id=event_id(source, key, content),
        source=source,
        event_type=event_type,
        entity_id=entity_id,
        event_time=event_time,
        event_time_text=event_time.exact_text,
        received_time=received_time,
        idempotency_key=key,
        payload_sha256=sha256(data).hexdigest(),
        fingerprint=content,
        data=data,
        replay_of=replay_of,
    )


def rows(
    arrivals: Sequence[Arrival], outcome: Outcome = Outcome.ACCEPTED, winner: str | None = None
) -> list[Row]:
    return [Row(number, each, outcome, winner) for number, each in enumerate(arrivals)]
