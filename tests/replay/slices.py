"""Jobs, plans and slices for the tests of replay, and a selector that holds its events in a list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pyarrow as pa

from pik.api.replay_job import ReplayJobSpec
from pik.domain.identity import shard_of
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.replay.dry_run import dry_run
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import begin_run
from pik.execution.replay.settings import ShardSettings
from pik.execution.replay.tools import Tools, Unobserved
from pik.execution.stream import Stream
from pik.memory.sink import MemorySink
from pik.planning.envelope import cloud_events
from pik.planning.replay.events import EVENTS
from pik.planning.replay.messages import Messages
from pik.planning.replay.pace import EffectivePace
from pik.planning.replay.plan import Measure, ReplayPlan
from pik.planning.replay.records import End
from pik.planning.replay.spec import ReplaySpec, replay_spec, run_id
from pik.ports.selection import Measured, Selector
from pik.ports.sinks import Sink
from reading.streams import START, World, after

HTTP = {"type": "HTTP", "http": {"url": "https://example.test/hook"}}
WINDOW = {"from": START.text, "to": after(3_600).text}


def job(**fields: Any) -> ReplayJobSpec:
    """A ReplayJob's spec; `select` is merged with a window of an hour from START."""
    select = {"window": WINDOW, **fields.pop("select", {})}
    manifest = {"streamRef": {"name": "things"}, "target": HTTP, "select": select, **fields}
    return ReplayJobSpec.model_validate(manifest)


def spec(**fields: Any) -> ReplaySpec:
    return replay_spec(job(**fields), "tests")


def run_of(stream: Stream, key: str = "1") -> str:
    return run_id(stream.layout.stream_id, "tests", "again", key)


class ReplayEvent(NamedTuple):
    """A row of EVENTS."""

    event_id: str
    source: str
    event_type: str
    entity_id: str
    event_micros: int
    event_time_rest: str
    event_time_text: str
    idempotency_key: str | None
    attributes: str | None
    data: bytes
    segment: str
    row: int
    repeat: bool


def event(number: int, entity: str = "e1", at: Instant | None = None, data: bytes = b"{}") -> ReplayEvent:
    moment = after(number) if at is None else at
    return ReplayEvent(
        event_id=f"{number:064x}",
        source="sensors",
        event_type="reading",
        entity_id=entity,
        event_micros=moment.micros,
        event_time_rest=moment.rest,
        event_time_text=moment.exact_text,
        idempotency_key=None,
        attributes=None,
        data=data,
        segment="s",
        row=number,
        repeat=False,
    )


def columns(events: Sequence[ReplayEvent]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([each._asdict() for each in events], EVENTS)


def rows(events: pa.RecordBatch) -> list[ReplayEvent]:
    return [ReplayEvent(**{**row, "data": row["data"].encode()}) for row in events.to_pylist()]


def messages(*events: ReplayEvent, run: str = "a" * 64) -> Messages:
    sent = columns(events)
    return Messages(run, cloud_events(sent, run, "s").cast(pa.binary()), sent)


class ListSelector:
    """Its events are the slice, in the plan's order."""

    def __init__(self, events: Sequence[ReplayEvent], stale: Sequence[str] = (), piece: int = 7) -> None:
        self.events = events
        self._stale = tuple(stale)
        self._piece = piece

    async def measure(self, spec: ReplaySpec, segments: Sequence[SegmentEntry]) -> Measured:
        size = sum(len(event.data) for event in self.events)
        return Measured(Measure(len(self.events), size, None, None, 0, len(self._stale)), (), self._stale)

    async def read(self, plan: ReplayPlan, shard: int, start: int) -> AsyncIterator[pa.RecordBatch]:
        mine = [e for e in self.events if shard_of(e.entity_id, plan.spec.shards) == shard][start:]
        for first in range(0, len(mine), self._piece):
            yield columns(mine[first : first + self._piece])

    @asynccontextmanager
    async def together(self, plan: ReplayPlan) -> AsyncIterator[Selector]:
        yield self


async def begin(stream: Stream, selector: Selector, what: ReplaySpec, key: str = "1") -> ReplayPlan:
    """A dry run, and the record of the run that follows it."""
    now = stream.clock.now()
    plan = await dry_run(stream, await take_snapshot(stream, now=now), what, run_of(stream, key), selector)
    await begin_run(stream, plan, namespace="tests", name="again", run_key=key, approved_by=None)
    return plan


def tools(stream: Stream, selector: Selector, sink: Sink, **changes: Any) -> Tools:
    given: dict[str, Any] = {
        "dead_letter": None,
        "pacer": Pacer(stream.clock, EffectivePace()),
        "holder": "worker",
        "halted": lambda: False,
        "observer": Unobserved(),
        "settings": ShardSettings(chunk_events=4, first_chunk=4),
    }
    return Tools(selector=selector, sink=sink, **{**given, **changes})


async def ran(
    made: World,
    events: Sequence[ReplayEvent],
    sink: MemorySink,
    *,
    stale: Sequence[str] = (),
    parallelism: int = 1,
    changes: dict[str, Any] | None = None,
    **fields: Any,
) -> tuple[ReplayPlan, End | None]:
    """A run of these events, to its end or until it is halted."""
    selector = ListSelector(events, stale)
    plan = await begin(made.stream, selector, spec(**fields))
    used = tools(made.stream, selector, sink, **(changes or {}))
    return plan, await run_replay(made.stream, plan.run_id, used, parallelism)
