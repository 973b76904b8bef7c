"""Processes that share a bucket and an index, and a seeded fate for every call they make (simulation.fates).

What is simulated is what runs: the engine's own code over the in-memory ports.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pik.domain.arrivals import Outcome, Row
from pik.domain.columns import Columns
from pik.domain.errors import PikError, Tampered, Throttled, Unavailable
from pik.domain.instants import Instant
from pik.domain.layout import Layout, owner_key
from pik.domain.segments import SegmentEntry, SegmentHead
from pik.execution.stream import Deduplication, Stream
from pik.memory.index import MemoryIndex, MemoryTable
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.ports.objects import ObjectStore, StoredObject
from pik.ports.segments import SegmentCodec, SegmentFiles
from simulation import virtual_loop
from simulation.fates import CALM, Fate, Faults
from simulation.virtual_loop import VirtualLoop

BASE = 1_764_000_000_000_000  # microseconds: an instant at which each simulated world begins
STALLS = (5.0, 30.0, 120.0, 600.0)  # seconds
SLOW = 1.0  # seconds
LATER = (0.05, 0.5, 5.0, 60.0)  # seconds until what nobody waits for any more takes effect

T = TypeVar("T")


class Crashed(BaseException):
    """The process this code runs in is dead. No handler of the engine may stop it."""


class PlainCodec:
    """Segments as MessagePack: what is simulated is the protocol, not Parquet. What was parsed once is
    remembered."""

    def __init__(self) -> None:
        self._parsed: dict[bytes, tuple[SegmentHead, list[Row]]] = {}

    def encode(self, head: SegmentHead, rows: Sequence[Row]) -> bytes:
        return _ENCODER.encode((head, rows))

    def encode_columns(self, head: SegmentHead, arrivals: Columns) -> bytes:
        return self.encode(head, recorded_rows(arrivals))

    def decode(self, body: bytes) -> tuple[SegmentHead, list[Row]]:
        found = self._parsed.get(body)
        if found is None:
            try:
                found = self._parsed[body] = _DECODER.decode(body)
            except msgspec.DecodeError as error:
                raise Tampered("not a segment") from error
        return found


def recorded_rows(arrivals: Columns) -> list[Row]:
    return [
        Row(number, arrival, Outcome.RECORDED if arrival.replay_of is None else Outcome.REPLAYED)
        for number, arrival in enumerate(arrivals.arrivals())
    ]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[SegmentHead, list[Row]])


class NoFiles:
    directory: Path | None = None

    def __init__(self, objects: ObjectStore, codec: SegmentCodec) -> None: ...

    async def fetch(self, entries: Sequence[SegmentEntry]) -> list[Path]:
        raise AssertionError("nothing here reads files")


@dataclass(frozen=True)
class ServiceClock:
    """The time of the services, which no process's clock has to agree with."""

    loop: VirtualLoop

    def now(self) -> Instant:
        return Instant(BASE + int(self.loop.time() * 1e6))

    async def sleep(self, seconds: float) -> None:
        await self.loop.pause(seconds)


class Objects(dict[str, StoredObject]):
    """A bucket's objects; it notes what no protocol of pik does."""

    def __init__(self) -> None:
        super().__init__()
        self.rewritten: list[str] = []
        self.archive: dict[str, StoredObject] = {}  # what expired and is gone

    def __setitem__(self, key: str, stored: StoredObject) -> None:
        if key in self and key != owner_key(""):
            self.rewritten.append(key)
        super().__setitem__(key, stored)

    def expire(self, key: str) -> None:
        """A lifecycle rule does it."""
        self.archive[key] = self.pop(key)


class World:
    """The shared services, the seed's dice, and what has happened. One that is made inside of a schedule has
    that schedule's loop."""

    def __init__(
        self,
        seed: int,
        deduplication: Deduplication = Deduplication.ON_WRITE,
        page: int = 1_000,
        retention_days: int | None = None,
        files: Callable[[ObjectStore, SegmentCodec], SegmentFiles] = NoFiles,
    ) -> None:
        """`files`: those of one process."""
        self.random = random.Random(seed)
        self.deduplication = deduplication
        self.page = page
        self.retention_days = retention_days
        self.files = files
        self.loop = _loop()
        self.clock = ServiceClock(self.loop)
        self.layout = Layout("", "stream-1")
        self.objects = Objects()
        self.bucket = MemoryBucket(objects=self.objects)
        self.table = MemoryTable()
        self.codec = PlainCodec()
        self.trace: list[tuple[str, str, str]] = []  # who, did what, at which call
        self.seen: Counter[str] = Counter()  # fates, and what scenarios count
        self.faults = CALM
        self._made = 0

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self.fates = faults.table()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Plays to the end. Raises `Deadlock` and `Endless`."""
        return virtual_loop.run(main, self.loop)

    def note(self, what: str) -> None:
        """Something that statistics count."""
        self.seen[what] += 1
        self.trace.append(("--", what, ""))

    def process(self, kind: str) -> Process:
        self._made += 1
        return Process(self, f"{kind}-{self._made}", self.random.randint(-200_000, 200_000))

    def explained(self) -> str:
        """The end of what has happened, a line each."""
        return "\n".join(" ".join(step) for step in self.trace[-400:])


def _loop() -> VirtualLoop:
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return VirtualLoop()
    assert isinstance(running, VirtualLoop)
    return running


class Process:
    """One writer or worker: its clock, its dice, its ports. Each of its calls meets a fate."""

    def __init__(self, world: World, name: str, skew: int) -> None:
        """`skew`: microseconds that its clock is off."""
        self.name = name
        self.dead = False
        self.tries = 1  # while an effect runs: of the client library, of this call, as it would tell it
        self.death = world.loop.create_future()
        self._world = world
        self._loop = world.loop
        self._random = world.random.random
        self._ahead = BASE + skew
        self._paused_until = 0.0

    # ports.Clock, ports.Entropy and ports.Offload

    def now(self) -> Instant:
        return Instant(self._ahead + int(self._loop.time() * 1e6))

    async def sleep(self, seconds: float) -> None:
        self._check()
        await self._loop.pause(seconds)
        await self._resumed()

    def hex(self, digits: int) -> str:
        return f"{self._world.random.getrandbits(4 * digits):0{digits}x}"

    async def offload(self, work: Callable[..., T], *args: object, **kwargs: object) -> T:
        self._check()
        return work(*args, **kwargs)

    def stream(self, table: MemoryTable | None = None, epoch: int | None = None) -> Stream:
        """The stream as this process sees it. `table`: of the cluster that it is in."""
        world = self._world
        objects = MemoryObjectStore(world.bucket, world.clock, page=world.page, wire=self)
        return Stream(
            "default",
            "s",
            world.layout,
            world.deduplication,
            world.retention_days,
            (),
            objects,
            MemoryIndex(table or world.table, page=world.page, wire=self),
            world.files(objects, world.codec),
            world.codec,
            self,
            self,
            self.offload,
            epoch,
        )

    # memory.hooks.Wire

    async def call(self, name: str, effect: Callable[[], T]) -> T:
        await self._travel()
        fate = self._world.fates.draw(self._random())
        if fate is None:
            self._world.trace.append((self.name, "does", name))
            return effect()
        [answer] = await self._meet(fate, name, [effect])
        return answer

    async def batch(self, name: str, effects: Sequence[Callable[[], T]]) -> list[T]:
        """The effects come in any order."""
        fate = self._world.fates.draw(self._random())
        if fate is not None:
            await self._travel()
            return await self._meet(fate, name, effects)
        answers: dict[int, T] = {}
        for position in self._world.random.sample(range(len(effects)), len(effects)):
            await self._travel()
            self._world.trace.append((self.name, "does", name))
            answers[position] = effects[position]()
        return [answers[position] for position in range(len(effects))]

    async def _meet(self, fate: Fate, name: str, effects: Sequence[Callable[[], T]]) -> list[T]:
        world = self._world
        world.trace.append((self.name, fate.value, name))
        world.seen[fate.value] += 1
        random = world.random
        if fate is Fate.PAUSED:
            self._paused_until = self._loop.time() + random.choice(STALLS)
            await self._resumed()
            return [effect() for effect in effects]
        if fate in (Fate.DIES_BEFORE, Fate.REFUSED, Fate.THROTTLED):
            done = random.randrange(len(effects))  # of a batch some may have taken effect
            for effect in effects[:done]:
                effect()
            if fate is Fate.DIES_BEFORE:
                self.crash()
            raise (Throttled if fate is Fate.THROTTLED else Unavailable)(name)
        if fate in (Fate.DIES_DURING, Fate.OVERTAKEN):
            self._later(effects)
            if fate is Fate.DIES_DURING:
                self.crash()
            raise Unavailable(name)
        self.tries = 2 if fate is Fate.ECHOED else 1
        answers = [effect() for effect in effects]
        self.tries = 1
        if fate is Fate.DIES_AFTER:
            self.crash()
        if fate is Fate.ECHOED:
            self._later(effects)
            return answers
        await self._travel()
        if fate is Fate.LOST:
            raise Unavailable(name)
        self.tries = 2  # REPEATED: the second answer is heard
        answers = [effect() for effect in effects]
        self.tries = 1
        return answers

    def _later(self, effects: Sequence[Callable[[], object]]) -> None:
        def land() -> None:
            for effect in effects:
                with suppress(PikError):
                    effect()

        self._loop.call_later(self._world.random.choice(LATER) * self._random(), land)

    async def _travel(self) -> None:
        self._check()
        drawn = self._random()
        faults = self._world.faults
        if drawn < faults.stall:
            self._world.seen["stalls"] += 1
            await self._loop.pause(self._world.random.choice(STALLS))
        elif drawn < faults.stall + faults.slow:
            await self._loop.pause(self._random() * SLOW)
        else:
            await self._loop.pause(drawn * drawn * drawn * 0.1)
        await self._resumed()

    async def _resumed(self) -> None:
        while self._paused_until > self._loop.time() and not self.dead:
            await self._loop.pause(self._paused_until - self._loop.time())
        self._check()

    # life

    def _check(self) -> None:
        if self.dead:
            raise Crashed(self.name)

    def crash(self) -> None:
        self.dead = True
        if not self.death.done():
            self.death.set_result(None)
        raise Crashed(self.name)
