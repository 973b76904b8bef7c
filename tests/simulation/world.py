"""Processes that share a bucket and an index, and a seeded fate for every call they make.

At each port call a process may be delayed (seldom for minutes), crash before or after the effect, lose the
answer after the effect, or be refused before it. What is simulated is what runs: the engine's own code over
the in-memory ports.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pik.domain.arrivals import Row
from pik.domain.errors import Tampered, Unavailable
from pik.domain.instants import Instant
from pik.domain.layout import Layout
from pik.domain.segments import SegmentEntry, SegmentHead
from pik.execution.stream import Deduplication, Stream
from pik.memory.index import MemoryIndex, MemoryTable
from pik.memory.objects import MemoryBucket, MemoryObjectStore

BASE = 1_764_000_000_000_000  # microseconds: an instant at which each simulated world begins


class Crashed(BaseException):
    """The process this code runs in is dead. No handler of the engine may stop it."""


@dataclass(frozen=True)
class Faults:
    """Probabilities at each port call."""

    crash: float = 0.004
    lost: float = 0.02  # the answer, after the effect
    refused: float = 0.02  # before any effect
    stall: float = 0.01  # a very long delay


CALM = Faults(0, 0, 0, 0)


@dataclass(eq=False)
class Process:
    """One writer or worker. `died` is set when it crashes."""

    name: str
    skew: int  # microseconds that its clock is off
    died: asyncio.Event = field(default_factory=asyncio.Event)

    def check(self) -> None:
        if self.died.is_set():
            raise Crashed(self.name)

    def crash(self) -> None:
        self.died.set()
        raise Crashed(self.name)


CURRENT: contextvars.ContextVar[Process] = contextvars.ContextVar("process")


class PlainCodec:
    """Segments as MessagePack: what is simulated is the protocol, not Parquet."""

    def encode(self, head: SegmentHead, rows: list[Row]) -> bytes:
        return msgspec.msgpack.encode((head, rows))

    def decode(self, body: bytes) -> tuple[SegmentHead, list[Row]]:
        try:
            return msgspec.msgpack.decode(body, type=tuple[SegmentHead, list[Row]])
        except msgspec.DecodeError as error:
            raise Tampered("not a segment") from error


class NoFiles:
    async def fetch(self, entries: list[SegmentEntry]) -> list[Path]:
        raise AssertionError("nothing here reads Parquet")


class ServiceClock:
    """The time of the services, which no process's clock has to agree with."""

    def now(self) -> Instant:
        return Instant(BASE + int(asyncio.get_running_loop().time() * 1e6))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class World:
    """The shared services, the seeded fates, and the processes."""

    def __init__(
        self, seed: int, deduplication: Deduplication = Deduplication.ON_WRITE, page: int = 1_000
    ) -> None:
        self.random = random.Random(seed)
        self.faults = CALM
        self.deduplication = deduplication
        self.trace: list[str] = []
        self.layout = Layout("", "stream-1")
        self.bucket = MemoryBucket()
        self.table = MemoryTable()
        self.objects = MemoryObjectStore(self.bucket, ServiceClock(), self._before, self._after, page)
        self.index = MemoryIndex(self.table, self._before, self._after, page)
        self._made = 0

    # ports.Clock, offload and entropy of a process

    def now(self) -> Instant:
        process = CURRENT.get(None)
        skew = process.skew if process else 0
        return Instant(BASE + int(asyncio.get_running_loop().time() * 1e6) + skew)

    async def sleep(self, seconds: float) -> None:
        CURRENT.get().check()
        await asyncio.sleep(seconds)
        CURRENT.get().check()

    def hex(self, digits: int) -> str:
        return f"{self.random.getrandbits(4 * digits):0{digits}x}"

    async def offload(self, work: Callable, *args: object, **kwargs: object) -> object:
        CURRENT.get().check()
        return work(*args, **kwargs)

    # fates

    async def _before(self, call: str) -> None:
        process = CURRENT.get()
        process.check()
        await self._delay()
        process.check()
        draw = self.random.random()
        if draw < self.faults.crash:
            self.trace.append(f"{process.name} dies before {call}")
            process.crash()
        if draw < self.faults.crash + self.faults.refused:
            self.trace.append(f"{process.name} is refused {call}")
            raise Unavailable(call)
        self.trace.append(f"{process.name} does {call}")

    async def _after(self, call: str) -> None:
        process = CURRENT.get()
        draw = self.random.random()
        if draw < self.faults.crash:
            self.trace.append(f"{process.name} dies after {call}")
            process.crash()
        await self._delay()
        process.check()
        if draw < self.faults.crash + self.faults.lost:
            self.trace.append(f"{process.name} loses the answer of {call}")
            raise Unavailable(call)

    async def _delay(self) -> None:
        if self.random.random() < self.faults.stall:
            await asyncio.sleep(self.random.choice([5, 30, 120, 600]))
        else:
            await asyncio.sleep(self.random.random() ** 3 * 0.1)

    # processes

    def process(self, kind: str) -> Process:
        self._made += 1
        return Process(f"{kind}-{self._made}", self.random.randint(-200_000, 200_000))

    def stream(self) -> Stream:
        return Stream(
            "default",
            "s",
            self.layout,
            self.deduplication,
            None,
            (),
            self.objects,
            self.index,
            NoFiles(),
            PlainCodec(),
            self,
            self,
            self.offload,
        )
