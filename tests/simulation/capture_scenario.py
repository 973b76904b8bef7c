"""Clients, writers, reindexers and table deletions on one stream, and an oracle of what was answered.

The oracle reads the bucket with the codec and the clients' own log; it shares no decision with the engine.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.errors import PikError
from pik.domain.identity import event_id, fingerprint
from pik.domain.instants import Instant
from pik.domain.segments import GenerationRecord, SegmentID
from pik.execution.capture.answers import Answer, Status
from pik.execution.capture.capture import Capture
from pik.execution.capture.settings import CaptureSettings
from pik.execution.reindex import reindex
from pik.execution.stream import Deduplication
from simulation.fates import CALM, Faults
from simulation.world import Crashed, Process, World

T = TypeVar("T")

SETTINGS = CaptureSettings(max_rows=3, void_wait=2.0)


def arrival(key: int, variant: int) -> Arrival:
    """The event `key`, with one of several payloads."""
    data = b'{"v":%d}' % variant
    time = Instant(1_700_000_000_000_000 + key)
    content = fingerprint("t", f"e{key % 2}", time, data)
    return Arrival(
        event_id("s", str(key), content),
        "s",
        "t",
        f"e{key % 2}",
        time,
        time.text,
        None,
        str(key),
        sha256(data).hexdigest(),
        content,
        data,
    )


@dataclass
class Log:
    """What the clients were told: every answer, with what was sent for it."""

    told: list[tuple[Arrival, Answer]] = field(default_factory=list)


class Scenario:
    """One schedule of capture."""

    def __init__(
        self,
        world: World,
        *,
        writers: int = 2,
        clients: int = 3,
        chaos: int = 2,
        within: float = 3.0,
        settings: CaptureSettings = SETTINGS,
    ) -> None:
        """`chaos`: rebuilds, which begin `within` so many seconds."""
        self._settings = settings
        self.world = world
        self.log = Log()
        self._writers = writers
        self._clients = clients
        self._chaos = chaos
        self._within = within
        self._live: list[tuple[Process, Capture]] = []

    async def run(self, faults: Faults) -> None:
        """Plays the schedule to its end, calms the world, and makes the index whole once more."""
        await reindex(self.world.process("operator").stream(), self.world.table.ensure)
        self.world.faults = faults
        for _ in range(self._writers):
            self._start_writer()
        clients = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        chaos = [asyncio.create_task(self._disturb()) for _ in range(self._chaos)]
        await asyncio.wait([*clients, *chaos], timeout=3_000)
        self.world.faults = CALM
        await self._until_ready()
        for task in [*clients, *chaos]:
            await task
        for _, capture in self._live:
            await capture.drain()

    def _start_writer(self) -> tuple[Process, Capture]:
        process = self.world.process("writer")
        pair = (process, Capture(process.stream(), self._settings))
        self._live.append(pair)
        return pair

    async def _client(self) -> None:
        """Sends a few requests, each again and again until it is answered."""
        random = self.world.random
        for _ in range(random.randint(1, 4)):
            wanted = [arrival(random.randrange(4), random.randrange(2)) for _ in range(random.randint(1, 3))]
            while True:
                answers = await self._send(wanted)
                if answers is not None:
                    self.log.told += zip(wanted, answers, strict=True)
                    break
                await self.world.loop.pause(random.random() * 2)

    async def _send(self, wanted: list[Arrival]) -> list[Answer] | None:
        self._live = [pair for pair in self._live if not pair[0].dead]
        while len(self._live) < self._writers:
            self._start_writer()
        process, capture = self.world.random.choice(self._live)
        return await answered(process, capture.ingest(wanted))

    async def _disturb(self) -> None:
        """Reindexes, sometimes after deleting the table, sometimes beside another reindex."""
        random = self.world.random
        await self.world.loop.pause(random.random() * self._within)
        if random.random() < 0.5:
            self.world.note("table deleted")
            self.world.table.drop()
        await self._until_ready(force=True)

    async def _until_ready(self, *, force: bool = False) -> None:
        while True:
            process = self.world.process("reindexer")
            stream = process.stream()
            try:
                state = await stream.index.generation()
                if state is not None and state.ready and not force:
                    return
            except PikError:
                pass
            except Crashed:
                continue
            try:
                await reindex(stream, self.world.table.ensure)
                self.world.note("reindexed")
                force = False
            except (PikError, Crashed):
                await self.world.loop.pause(self.world.random.random() * 5)


async def answered(process: Process, asking: Coroutine[Any, Any, T]) -> T | None:
    """What a client hears of a process: None where it fails, or dies on the way."""
    request = asyncio.ensure_future(asking)
    await asyncio.wait((request, process.death), return_when=asyncio.FIRST_COMPLETED)
    if not request.done():
        request.cancel()
        return None
    try:
        return request.result()
    except (PikError, Crashed):
        return None


@dataclass(frozen=True)
class Truth:
    """What the bucket holds: the rows of segments that count, read independently of the engine."""

    rows: list[tuple[SegmentID, Row]]
    places: list[tuple[str, Row]]  # the same by their objects' keys

    @property
    def events(self) -> dict[str, list[tuple[SegmentID, Row]]]:
        found: dict[str, list[tuple[SegmentID, Row]]] = defaultdict(list)
        for segment, row in self.rows:
            if row.outcome is Outcome.ACCEPTED:
                found[row.arrival.event_id].append((segment, row))
        return found


def read_truth(world: World) -> Truth:
    objects = {key: stored.body for key, stored in world.bucket.objects.items()}
    newest = max(key for key in objects if key.startswith(world.layout.generations))
    record = msgspec.json.decode(objects[newest], type=GenerationRecord)
    counting = set(record.counting)
    rows, places = [], []
    for key in sorted(objects):
        if key.startswith(world.layout.raw):
            segment = world.layout.segment_of(key)
            if segment.generation == record.number or segment in counting:
                found = world.codec.decode(objects[key])[1]
                rows += [(segment, row) for row in found]
                places += [(key, row) for row in found]
    return Truth(rows, places)


def judge(world: World, log: Log) -> list[str]:
    """The laws that this schedule broke, in words; empty when all hold."""
    truth = read_truth(world)
    kept_at = {(key, row.row): row.arrival for key, row in truth.places}
    broken = []
    if world.deduplication is Deduplication.ON_READ:
        for sent, answer in log.told:
            if kept_at.get((answer.s3_key or "", answer.row)) != sent:
                broken.append(f"RECORDED at {answer.s3_key}#{answer.row} but it is not there as sent")
        return broken
    events = truth.events
    for identity, found in events.items():
        if len(found) > 1:
            broken.append(f"event {identity[:8]} is ACCEPTED {len(found)} times")
    accepted: dict[str, str] = {}
    for sent, answer in log.told:
        found = events.get(sent.event_id, [])
        kept = found[0][1].arrival if found else None
        if kept is None:
            broken.append(f"{answer.status} was answered but {sent.event_id[:8]} is no event")
        elif answer.status is Status.ACCEPTED and kept.data != sent.data:
            broken.append(f"ACCEPTED {sent.data!r} but {kept.data!r} is the event")
        elif answer.status is Status.DUPLICATE and kept.data != sent.data:
            broken.append(f"DUPLICATE of {sent.data!r} but {kept.data!r} is the event")
        elif answer.status is Status.CONFLICT and kept.data == sent.data:
            broken.append(f"CONFLICT of {sent.data!r} but that is the event")
        if answer.status is Status.ACCEPTED:
            before = accepted.setdefault(sent.event_id, f"{answer.s3_key}#{answer.row}")
            if before != f"{answer.s3_key}#{answer.row}":
                broken.append(f"two places were answered ACCEPTED for {sent.event_id[:8]}")
        if kept_at.get((answer.s3_key or "", answer.row)) != sent:
            broken.append(f"{answer.status} at {answer.s3_key}#{answer.row} is not the arrival")
    for identity, found in events.items():
        segment, row = found[0]
        entry = world.table.entries.get(identity)
        if entry is None or (entry.segment, entry.row) != (segment, row.row):
            broken.append(f"the index does not name the event {identity[:8]}")
    return broken
