"""The whole life of a stream: producers write while its index is rebuilt, its table deleted, orphans are
swept up, another cluster takes it over and raw expires; meanwhile plans are made, workers replay them, and
several ask for the same aggregates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from pik.api.aggregate_version import TimeBucket
from pik.domain.arrivals import Arrival
from pik.domain.errors import Incomplete, PikError
from pik.domain.identity import event_id, fingerprint
from pik.domain.instants import Instant
from pik.domain.retention import is_expired
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.records import Answer as VersionAnswer
from pik.execution.capture.answers import Answer
from pik.execution.capture.capture import Capture
from pik.execution.generations import newest_record
from pik.execution.orphans import index_orphans
from pik.execution.ownership import Claimant, OwnerRecord, claim
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.reindex import reindex
from pik.execution.replay.dry_run import dry_run
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import begin_run
from pik.execution.stream import Stream
from pik.memory.index import MemoryTable
from pik.planning.definitions import Definition, Measure, WindowText
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import End
from pik.planning.replay.spec import ReplaySpec, run_id
from pik.ports.index import GenerationState
from replay.slices import spec, tools
from simulation.capture_scenario import SETTINGS, answered
from simulation.fates import CALM, Faults
from simulation.plain import PlainEngine, PlainSelector
from simulation.target import TRAITS, Noted, SimulatedSink, Target
from simulation.world import BASE, Crashed, Process, World

DAY = 86_400.0
FIRST = 1_700_000_000_000_000  # microseconds: of the earliest event there can be
START, END = Instant(FIRST + 1), Instant(FIRST + 5)  # of the window, in which not all of them are
DEFINITION = Definition(
    "stream-1",
    WindowText(START.text, END.text),
    "UTC",
    TimeBucket.WINDOW,
    (),
    (Measure("events", "count(*)"),),
    None,
)
MOST_FAILURES = 40  # in a row, in a calm world


def arrival(key: int, variant: int) -> Arrival:
    """The event `key`, with one of several contents: not all of them are in the window."""
    data = b'{"v":%d}' % variant
    time = Instant(FIRST + key + 2 * variant)
    content = fingerprint("t", f"e{key % 3}", time, data)
    return Arrival(
        event_id=event_id("s", str(key), content),
        source="s",
        event_type="t",
        entity_id=f"e{key % 3}",
        event_time=time,
        event_time_text=time.text,
        received_time=None,
        idempotency_key=str(key),
        payload_sha256=sha256(data).hexdigest(),
        fingerprint=content,
        data=data,
    )


@dataclass(frozen=True)
class Told:
    """What a client was told, and when (seconds of the loop)."""

    sent: Arrival
    answer: Answer
    at: float


@dataclass(frozen=True)
class Planned:
    plan: ReplayPlan
    began: float  # seconds of the loop
    ended: float


@dataclass(frozen=True)
class Asked:
    """`as_of`: as it was asked."""

    name: str
    as_of: Instant | None
    began: float
    ended: float
    answer: VersionAnswer


@dataclass
class Log:
    """All that people were told, for the oracle."""

    told: list[Told] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    tried: dict[str, float] = field(default_factory=dict)  # when an instant or a name was first asked for
    ends: dict[str, list[End]] = field(default_factory=dict)  # by run id
    broken: list[str] = field(default_factory=list)  # what nobody could do, however long the world was calm


@dataclass(frozen=True)
class Cluster:
    epoch: int
    table: MemoryTable


class Life:
    """One schedule."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.log = Log()
        self.target = Target()
        self.clusters = [Cluster(1, world.table)]
        self._random = world.random
        self._calm = False
        self._writers: list[tuple[Process, Capture]] = []
        self._traits = self._random.choice(TRAITS)
        self._instants: list[Instant] = []
        self._spec: ReplaySpec = spec(
            select={"window": {"from": START.text, "to": END.text}},
            shards=self._random.randint(1, 2),
            onStale="Send",
            retriesPerShard=100,
        )

    async def run(self, faults: Faults) -> None:
        """Plays the schedule to its end."""
        await self._found()
        self.world.faults = faults
        if self.world.retention_days is not None:
            await self._grow_old()
        acts: list[Callable[[], Awaitable[None]]] = [self._produce, self._produce, self._replay]
        acts += [self._ask] * self._random.randint(1, 3)
        acts += self._random.sample(
            [self._rebuild, self._rebuild, self._delete_table, self._sweep, self._take_over],
            self._random.randint(0, 2),
        )
        if self.world.retention_days is not None:
            acts.append(self._expire)
        tasks = [asyncio.ensure_future(act()) for act in acts]
        await asyncio.wait(tasks, timeout=3_000)
        self.world.faults = CALM
        self._calm = True
        await self._make_ready(force=False)
        for task in tasks:
            await task
        for _, capture in self._writers:
            await capture.drain()

    @property
    def cluster(self) -> Cluster:
        """The one that the stream belongs to."""
        return self.clusters[-1]

    def _open(self, process: Process) -> Stream:
        """As a process of some cluster: not everyone has heard of the latest."""
        there = self.cluster if self._calm else self._random.choice(self.clusters)
        return process.stream(there.table, there.epoch)

    async def _found(self) -> None:
        stream = self._open(self.world.process("founder"))
        owner = OwnerRecord("stream-1", "one", "default", "s", epoch=1)
        await stream.objects.create(stream.layout.owner, msgspec.json.encode(owner))
        await reindex(stream, self.cluster.table.ensure)

    async def _again(self, kind: str, work: Callable[[Process, Stream], Awaitable[Any]]) -> Any:
        """One process after the other, until one has done it. What cannot be done in a calm world is told."""
        failures = 0
        while True:
            process = self.world.process(kind)
            try:
                return await work(process, self._open(process))
            except (PikError, Crashed, BaseExceptionGroup) as error:
                failures = failures + 1 if self._calm else 0
                if failures > MOST_FAILURES:
                    self.log.broken.append(f"{kind}: {error!r}")
                    return None
                if self._calm and isinstance(error, Incomplete) and self.world.retention_days is not None:
                    return None  # what was known then has expired
                await self.world.loop.pause(self._random.random() * 20)

    # producers

    async def _produce(self) -> None:
        """A few requests, each again and again until it is answered."""
        for _ in range(self._random.randint(1, 3)):
            wanted = [
                arrival(self._random.randrange(7), self._random.randrange(2))
                for _ in range(self._random.randint(1, 3))
            ]
            while (answers := await self._send(wanted)) is None:
                await self.world.loop.pause(self._random.random() * 2)
            at = self.world.loop.time()
            self.log.told += [Told(sent, answer, at) for sent, answer in zip(wanted, answers, strict=True)]

    async def _send(self, wanted: list[Arrival]) -> list[Answer] | None:
        self._writers = [pair for pair in self._writers if not pair[0].dead]
        while len(self._writers) < 2 * len(self.clusters):
            process = self.world.process("writer")
            cluster = self.clusters[len(self._writers) % len(self.clusters)]
            capture = Capture(process.stream(cluster.table, cluster.epoch), SETTINGS)
            self._writers.append((process, capture))
        process, capture = self._random.choice(self._writers)
        return await answered(process, capture.ingest(wanted))

    # what disturbs them

    async def _rebuild(self) -> None:
        await self.world.loop.pause(self._random.random() * 2)
        await self._make_ready(force=True)

    async def _delete_table(self) -> None:
        await self.world.loop.pause(self._random.random() * 2)
        self.world.note("table deleted")
        self.cluster.table.drop()
        await self._make_ready(force=True)

    async def _make_ready(self, *, force: bool) -> None:
        async def work(_: Process, stream: Stream) -> None:
            table = next(c.table for c in self.clusters if c.epoch == stream.epoch)
            if not force and table.exists:
                state, record = await stream.index.generation(), await newest_record(stream)
                if record is not None and state == GenerationState(record.number, record.nonce, ready=True):
                    return  # as the operator sees it
            await reindex(stream, table.ensure)
            self.world.note("reindexed")

        await self._again("reindexer", work)

    async def _sweep(self) -> None:
        async def work(_: Process, stream: Stream) -> None:
            done = await index_orphans(stream)
            self.world.seen["orphans indexed"] += len(done.indexed)

        for _ in range(2):
            await self.world.loop.pause(self._random.random() * 3)
            await self._again("sweeper", work)

    async def _take_over(self) -> None:
        """Disaster recovery: a new cluster, an index of its own. The old one does not know yet."""

        async def work(process: Process, stream: Stream) -> int:
            record = await claim(
                stream.objects,
                "",
                Claimant("two", "default", "s"),
                process,
                known_stream="stream-1",
                take_over_from="one/default/s",
            )
            return record.epoch

        async def build(process: Process, _: Stream) -> None:
            await reindex(process.stream(there.table, there.epoch), there.table.ensure)

        await self.world.loop.pause(self._random.random() * 2)
        there = Cluster(await self._again("taker", work), MemoryTable(exists=False))
        self.world.note("taken over")
        self.clusters.append(there)
        await self._again("taker", build)

    async def _grow_old(self) -> None:
        """Some events come early, and then time passes until shortly before they expire."""
        assert self.world.retention_days is not None
        await self._produce()
        days = self.world.retention_days + 1
        midnight = (BASE / 1e6 // DAY + days) * DAY - BASE / 1e6
        left = midnight - self.world.loop.time() - self._random.random() * 4
        await self.world.loop.pause(left)

    async def _expire(self) -> None:
        """Lifecycle and TTL get to some of what has expired, some time."""
        await self.world.loop.pause(self._random.random() * 20)
        now, days = self.world.clock.now(), self.world.retention_days
        for key in [key for key in self.world.objects if key.startswith(self.world.layout.raw)]:
            segment = self.world.layout.segment_of(key)
            if is_expired(Instant(segment.stamp_millis * 1000), days, now) and self._random.random() < 0.7:
                self.world.note("segment expired")
                self.world.objects.expire(key)
                if self._random.random() < 0.5:
                    for cluster in self.clusters:
                        cluster.table.segments.pop(segment, None)
                        gone = [i for i, e in cluster.table.entries.items() if e.segment == segment]
                        for identity in gone:
                            del cluster.table.entries[identity]

    # readers

    async def _replay(self) -> None:
        """A plan is made and its run begun, perhaps by two who do not know of each other; workers run it."""

        async def begin(_: Process, stream: Stream) -> None:
            began = self.world.loop.time()
            snapshot = await take_snapshot(stream, now=stream.clock.now())
            plan = await dry_run(stream, snapshot, self._spec, run, PlainSelector(stream))
            self.log.planned.append(Planned(plan, began, self.world.loop.time()))
            await begin_run(stream, plan, namespace="t", name="again", run_key="1", approved_by=None)
            self.world.note("runs begun")

        async def work(process: Process, stream: Stream) -> None:
            sink = SimulatedSink(process, self.target, self._traits)
            seen = Noted(self.world)
            used = tools(stream, PlainSelector(stream), sink, holder=process.name, observer=seen)
            end = await run_replay(stream, run, used, 2)
            assert end is not None
            self.log.ends.setdefault(run, []).append(end)

        async def worker() -> None:
            await self._again("operator", begin)
            await self._again("worker", work)

        run = run_id("stream-1", "t", "again", "1")
        await self.world.loop.pause(self._random.random() * 3)
        await asyncio.gather(*(worker() for _ in range(self._random.randint(1, 2))))

    async def _ask(self) -> None:
        """An aggregate under one of few names, perhaps as known at an instant that others ask for too."""
        await self.world.loop.pause(self._random.random() * 3)
        for _ in range(self._random.randint(1, 2)):
            name = self._random.choice("ab")
            as_of: Instant | None = None
            if self._random.random() < 0.6:
                if not self._instants or self._random.random() < 0.3:
                    ago = self._random.randrange(2_000_000)
                    self._instants.append(Instant(self.world.clock.now().micros - ago))
                as_of = self._random.choice(self._instants)
            await self._again("asker", self._asking(name, as_of))

    def _asking(self, name: str, as_of: Instant | None) -> Callable[[Process, Stream], Awaitable[None]]:
        async def ask(_: Process, stream: Stream) -> None:
            began = self.world.loop.time()
            self.log.tried.setdefault(name if as_of is None else as_of.exact_text, began)
            answer = await compute(
                stream, DEFINITION, namespace="t", name=name, as_of=as_of, engine_of=PlainEngine
            )
            self.log.asked.append(Asked(name, as_of, began, self.world.loop.time(), answer))
            self.world.note("aggregates")

        return ask
