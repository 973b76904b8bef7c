"""One stream over the in-memory ports with real Parquet, and ways to harm it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random

import msgspec

from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.identity import event_id, fingerprint
from pik.domain.instants import Instant
from pik.domain.layout import Layout, segment_id
from pik.domain.segments import SegmentEntry, SegmentHead, SegmentID
from pik.execution.capture.answers import Answer
from pik.execution.capture.capture import Capture
from pik.execution.capture.landing import Landing
from pik.execution.capture.settings import CaptureSettings
from pik.execution.parquet import ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.stream import Deduplication, Stream
from pik.memory.hooks import Hook, unhooked
from pik.memory.index import MemoryIndex, MemoryTable
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.memory.system import InlineOffload, ManualClock, SeededEntropy
from pik.ports.objects import StoredObject

START = Instant(1_373_414_400_000_000)
SECOND = 1_000_000


def arrival(
    key: str | None,
    value: object = 0,
    *,
    entity: str = "e1",
    at: int = 0,
    received: int | None = None,
    exclude: tuple[str, ...] = (),
    attributes: str | None = None,
) -> Arrival:
    """An arrival of the event `key`, `at` seconds after the start. `value` makes the payload."""
    data = json.dumps({"v": value, "text": f"reading {value} of {entity}"}).encode()
    time = Instant(START.micros + at * SECOND)
    content = fingerprint("reading", entity, time, data, exclude)
    return Arrival(
        event_id=event_id("sensors", key, content),
        source="sensors",
        event_type="reading",
        entity_id=entity,
        event_time=time,
        event_time_text=time.text,
        received_time=None if received is None else Instant(START.micros + received * SECOND),
        idempotency_key=key,
        payload_sha256=sha256(data).hexdigest(),
        fingerprint=content,
        data=data,
        attributes=attributes,
    )


def arrivals(count: int, seed: int = 7) -> list[Arrival]:
    """As a sensor would send them: some entities, values that do not compress to nothing, some received
    times, some without a key."""
    random = Random(seed)
    return [
        arrival(
            None if n % 7 == 3 else f"{seed}-{n}",
            random.random(),
            entity=f"e{random.randrange(40)}",
            at=n,
            received=n + random.randrange(90) if n % 3 else None,
            attributes=json.dumps({"line": n}) if n % 5 == 0 else None,
        )
        for n in range(count)
    ]


class NoFiles:
    directory: Path | None = None

    async def fetch(self, entries: list[SegmentEntry]) -> list[Path]:
        raise AssertionError("nothing here needs local files")


@dataclass
class Bench:
    """The bucket and the table, a clock, and a stream over them."""

    deduplication: Deduplication = Deduplication.ON_READ
    retention_days: int | None = None
    exclude: tuple[str, ...] = ()
    page: int = 1_000
    bucket: MemoryBucket = field(default_factory=MemoryBucket)
    table: MemoryTable = field(default_factory=MemoryTable)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    seed: int = 0

    def stream(self, before: Hook = unhooked, after: Hook = unhooked) -> Stream:
        """A process's own handle."""
        self.seed += 1
        return Stream(
            namespace="default",
            name="sensors",
            layout=Layout("kit/", "stream-1"),
            deduplication=self.deduplication,
            retention_days=self.retention_days,
            fingerprint_exclude=self.exclude,
            objects=MemoryObjectStore(self.bucket, self.clock, before, after, page=self.page),
            index=MemoryIndex(self.table, before, after, page=self.page),
            files=NoFiles(),
            codec=ParquetCodec(),
            clock=self.clock,
            entropy=SeededEntropy(self.seed),
            offload=InlineOffload(),
        )

    async def ready(self) -> Stream:
        stream = self.stream()
        await reindex(stream, self.table.ensure)
        return stream

    async def ingest(self, *events: Arrival, step: float = 1.0) -> list[Answer]:
        """One segment, by a writer of its own; then the clock moves on."""
        capture = Capture(self.stream(), CaptureSettings(linger=0))
        answers = await capture.ingest(events)
        await capture.close()
        self.clock.advance(step)
        return answers

    async def plant(self, *rows: Row, ago: float = 0) -> str:
        """A segment of these very rows, stamped so many seconds ago, landed and registered as a writer does
        it; its key."""
        stream = self.stream()
        stamp = Instant(self.clock.now().micros - round(ago * SECOND))
        segment = segment_id(stamp, stream.entropy.hex(20), 1)
        landing = Landing(stream, CaptureSettings())
        entry = await landing.land(SegmentHead(stream.layout.stream_id, segment, stamp), rows)
        assert await landing.register(entry)
        self.clock.advance(1)
        return entry.key

    def straggler(self) -> str:
        """A segment of generation 0, which no generation record lists; its key."""
        stream = self.stream()
        stamp = self.clock.now()
        head = SegmentHead(stream.layout.stream_id, segment_id(stamp, stream.entropy.hex(20), 0), stamp)
        body = stream.codec.encode(head, [Row(0, arrival("straggler"), Outcome.RECORDED)])
        key = stream.layout.segment(head.segment)
        self.bucket.objects[key] = StoredObject(body, "", stamp)
        return key

    async def void(self) -> str:
        """A void, as a writer puts it at the key of a segment that it gave up waiting for; its key."""
        stream = self.stream()
        segment = segment_id(self.clock.now(), stream.entropy.hex(20), 1)
        await Landing(stream, CaptureSettings()).void(segment)
        self.clock.advance(1)
        return stream.layout.segment(segment)

    def raw(self) -> list[str]:
        return sorted(key for key in self.bucket.objects if "/raw/" in key)

    def seals(self) -> list[str]:
        return sorted(key for key in self.bucket.objects if "/seals/" in key)

    def body(self, key: str) -> bytes:
        return self.bucket.objects[key].body

    def overwrite(self, key: str, body: bytes) -> None:
        self.bucket.objects[key] = msgspec.structs.replace(self.bucket.objects[key], body=body)

    def flip(self, key: str, position: int, mask: int = 0x40) -> None:
        body = bytearray(self.body(key))
        body[position] ^= mask
        self.overwrite(key, bytes(body))

    def remove(self, key: str) -> None:
        del self.bucket.objects[key]

    def edit_manifest(self, segment: SegmentID, edit: Callable[[SegmentEntry], SegmentEntry]) -> None:
        self.table.segments[segment] = edit(self.table.segments[segment])
