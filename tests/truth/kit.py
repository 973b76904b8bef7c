"""A stream over ports in memory with real Parquet and DuckDB, whose processes may die at any port call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pik.domain.arrivals import Arrival
from pik.domain.errors import PikError
from pik.domain.identity import event_id, fingerprint
from pik.domain.instants import Instant
from pik.domain.layout import Layout
from pik.execution.capture.answers import Answer
from pik.execution.capture.capture import Capture
from pik.execution.capture.settings import CaptureSettings
from pik.execution.parquet import ParquetCodec
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from pik.memory.index import MemoryIndex, MemoryTable
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.memory.system import InlineOffload, ManualClock, SeededEntropy
from reading.streams import SECOND, START

T = TypeVar("T")
SETTINGS = CaptureSettings(linger=0, void_wait=1.0)


class Died(BaseException):
    """The process is dead. No handler of the engine may stop it."""


@dataclass
class Life:
    """Of one process: it dies at its `calls`-th port call (None: not at all), before the effect or, where
    `after` says so, with it done. `at`: the call at which it died."""

    calls: int | None = None
    after: bool = False
    made: int = 0
    at: str | None = None
    died: asyncio.Event = field(default_factory=asyncio.Event)

    async def before(self, call: str) -> None:
        await asyncio.sleep(0)  # others come in between
        self.made += 1
        if self.calls is not None and (
            self.made > self.calls or (self.made == self.calls and not self.after)
        ):
            self._die(call)

    async def ended(self, call: str) -> None:
        if self.calls is not None and self.made >= self.calls:
            self._die(call)

    def _die(self, call: str) -> None:
        self.at = self.at or call
        self.died.set()
        raise Died(call)

    async def lived(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the process came to. None: it died over it, or gave up."""
        doing, death = asyncio.ensure_future(work), asyncio.ensure_future(self.died.wait())
        await asyncio.wait({doing, death}, return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        if not doing.done():
            doing.cancel()
        try:
            return await doing
        except (PikError, Died, BaseExceptionGroup, asyncio.CancelledError):
            return None


@dataclass
class Kit:
    """The bucket, the table and the clock that processes share."""

    directory: Path
    deduplication: Deduplication
    bucket: MemoryBucket = field(default_factory=MemoryBucket)
    table: MemoryTable = field(default_factory=MemoryTable)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    processes: int = 0

    def stream(self, life: Life | None = None) -> Stream:
        """A process's own handle."""
        self.processes += 1
        life = life or Life()
        objects = MemoryObjectStore(self.bucket, self.clock, life.before, life.ended, page=5)
        return Stream(
            namespace="tests",
            name="things",
            layout=Layout("some/", "0" * 32),
            deduplication=self.deduplication,
            retention_days=None,
            fingerprint_exclude=(),
            objects=objects,
            index=MemoryIndex(self.table, life.before, life.ended, page=5),
            files=SegmentCache(objects, self.directory, InlineOffload()),
            codec=ParquetCodec(),
            clock=self.clock,
            entropy=SeededEntropy(self.processes),
            offload=InlineOffload(),
        )

    async def ingest(self, sent: Sequence[Sent], life: Life | None = None) -> list[Answer] | None:
        """By a writer of its own. None: it died over it, or the stream takes nothing now."""
        life = life or Life()
        capture = Capture(self.stream(life), SETTINGS)
        answers = await life.lived(capture.ingest([each.arrival for each in sent]))
        await life.lived(capture.close())
        return answers

    def copy(self) -> Kit:
        """The same, to go on with in another way."""
        table = self.table
        clock = ManualClock(self.clock.now())
        return replace(
            self,
            bucket=MemoryBucket(objects=dict(self.bucket.objects)),
            table=MemoryTable(
                table.exists,
                table.generation,
                dict(table.entries),
                dict(table.segments),
                dict(table.leases),
                {run: dict(marks) for run, marks in table.marks.items()},
            ),
            clock=clock,
        )


class Sent(msgspec.Struct, frozen=True):
    """What a producer sends: few keys, so that they repeat and contradict one another. `variant` makes the
    payload; `at`: seconds of its event time, which a contradiction may change too."""

    key: int
    variant: int = 0
    at: int = 0
    replay_of: str | None = None

    @property
    def arrival(self) -> Arrival:
        data = b'{"value": %d, "of": %d}' % (self.variant, self.key)
        time = Instant(START.micros + (self.key * 60 + self.at) * SECOND)
        entity = f"e{self.key % 3}"
        content = fingerprint("reading", entity, time, data)
        return Arrival(
            event_id=event_id(f"s{self.key % 2}", str(self.key), content),
            source=f"s{self.key % 2}",
            event_type="reading",
            entity_id=entity,
            event_time=time,
            event_time_text=time.text,
            received_time=Instant(time.micros + 5 * SECOND) if self.key % 2 else None,
            idempotency_key=str(self.key),
            payload_sha256=sha256(data).hexdigest(),
            fingerprint=content,
            data=data,
            replay_of=self.replay_of,
        )
