"""Capture, dry run, run, capture again: over the real engine and codec, in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import orjson
import pytest

from pik.domain.arrivals import Outcome
from pik.domain.decode import decode_cloud_event
from pik.domain.intake import Decoded, IntakeRules
from pik.execution.capture.answers import Status
from pik.execution.capture.capture import Capture
from pik.execution.capture.settings import CaptureSettings
from pik.execution.reading.relation import connect, open_arrivals, open_events
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.replay.dry_run import dry_run
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.ledger import reconcile_run
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import begin_run, read_plan, read_record
from pik.execution.stream import Deduplication, Stream
from pik.memory.index import MemoryIndex
from pik.memory.objects import MemoryObjectStore
from pik.memory.sink import MemorySink, MemoryTarget
from reading.streams import World, after, arrival, world
from replay.slices import run_of, spec, tools

EVENTS = [
    arrival(f"k{n}", after(n * 7 % 60), b'{ "n": %d.0 }' % n, entity_id=f"e{n % 7}") for n in range(100)
]


async def captured(directory: Path, deduplication: Deduplication) -> World:
    made = await world(directory, deduplication)
    capture = Capture(made.stream, CaptureSettings(max_rows=9))
    for first in range(0, len(EVENTS), 20):
        await capture.ingest(EVENTS[first : first + 20])
        made.clock.advance(3)
    await capture.ingest(EVENTS[:10])  # a retry
    await capture.drain()
    made.clock.advance(100)
    return made


@pytest.mark.parametrize("deduplication", Deduplication)
async def test_what_was_captured_is_replayed_and_found_again(
    tmp_path: Path, deduplication: Deduplication
) -> None:
    made = await captured(tmp_path, deduplication)
    stream = made.stream
    selector = DuckDBSelector(stream, str)
    what = spec(shards=4, select={"where": "entity_id <> 'e3'"})
    snapshot = await take_snapshot(stream, now=made.clock.now())
    plan = await dry_run(stream, snapshot, what, run_of(stream), selector)
    wanted = [a for a in EVENTS if a.entity_id != "e3"]
    assert (plan.measure.matched, plan.measure.repeats) == (len(wanted), 9)
    await begin_run(stream, plan, namespace="tests", name="again", run_key="1", approved_by=None)
    target = MemoryTarget()
    end = await run_replay(stream, plan.run_id, tools(stream, selector, MemorySink(target)), 4)
    assert end is not None
    assert (await reconcile_run(stream, plan)).whole
    assert sorted(target.event_ids) == sorted(a.event_id for a in wanted)
    for entity in {a.entity_id for a in wanted}:
        ids = [message.event_id for _, message in target.received if message.entity_id == entity]
        own = sorted((a for a in wanted if a.entity_id == entity), key=lambda a: (a.event_time, a.event_id))
        assert [a.event_id for a in own] == ids

    # what the target got comes in again, with its marker: nothing new, and the bytes are the same
    again = []
    for _, message in target.received:
        [decoded] = decode_cloud_event(message.body, IntakeRules())
        assert isinstance(decoded, Decoded)
        assert decoded.claim is not None
        assert await read_record(stream, decoded.claim.run_id) is not None
        again.append(decoded.as_replay())
    by_id = {a.event_id: a for a in wanted}
    assert all(msgspec.structs.replace(a, replay_of=None) == by_id[a.event_id] for a in again)
    capture = Capture(stream, CaptureSettings())
    answers = await capture.ingest(again)
    await capture.drain()
    assert {answer.status for answer in answers} == {Status.REPLAYED}
    made.clock.advance(100)
    con = connect()
    later = await take_snapshot(stream, now=made.clock.now())
    open_arrivals(con, await stream.files.fetch(later.segments))
    open_events(con, deduplication)
    assert con.execute("SELECT count(*) FROM events").fetchone() == (len(EVENTS),)
    replayed = con.execute("SELECT count(*) FROM arrivals WHERE outcome = ?", [Outcome.REPLAYED]).fetchone()
    assert replayed == (len(wanted),)
    con.close()
    counted = await selector.measure(what, later.segments)
    assert (counted.measure.matched, counted.measure.repeats) == (len(wanted), 9)  # a replay is no repeat


async def test_a_dry_run_creates_one_plan_and_touches_nothing_else(tmp_path: Path) -> None:
    made = await captured(tmp_path, Deduplication.ON_WRITE)
    calls: list[str] = []

    async def count(call: str) -> None:
        calls.append(call)

    watched: Stream = replace(
        made.stream,
        objects=MemoryObjectStore(made.bucket, made.clock, before=count),
        index=MemoryIndex(made.table, before=count),
    )
    before = set(made.bucket.objects)
    table = (dict(made.table.entries), dict(made.table.segments), dict(made.table.leases))
    for _ in range(2):
        snapshot = await take_snapshot(watched, made.clock.now(), now=made.clock.now())
        plan = await dry_run(watched, snapshot, spec(), run_of(watched), DuckDBSelector(watched, str))
    written = set(made.bucket.objects) - before
    assert written == {f"{watched.layout.run(plan.run_id)}plans/{plan.hash}.json"}
    assert table == (dict(made.table.entries), dict(made.table.segments), dict(made.table.leases))
    reading = {"objects.list", "objects.read", "index.segments", "index.generation"}
    assert set(calls) - reading == {"objects.create"}
    assert await read_plan(made.stream, plan.run_id, plan.hash) == plan
    stored = orjson.loads(made.bucket.objects[written.pop()].body)
    assert stored["as_of"] == snapshot.as_of.text


async def test_a_later_arrival_makes_another_plan_and_the_shown_one_is_still_there(tmp_path: Path) -> None:
    made = await captured(tmp_path, Deduplication.ON_WRITE)
    selector = DuckDBSelector(made.stream, str)
    now = made.clock.now()
    first = await dry_run(
        made.stream, await take_snapshot(made.stream, now=now), spec(), run_of(made.stream), selector
    )
    capture = Capture(made.stream, CaptureSettings())
    await capture.ingest([arrival("late", after(30))])
    await capture.drain()
    made.clock.advance(100)
    later = made.clock.now()
    second = await dry_run(
        made.stream, await take_snapshot(made.stream, now=later), spec(), run_of(made.stream), selector
    )
    assert first.hash != second.hash
    assert (first.measure.matched, second.measure.matched) == (100, 101)
    # the run sends what was shown, though more is there now
    await begin_run(made.stream, first, namespace="tests", name="again", run_key="1", approved_by="ann")
    target = MemoryTarget()
    await run_replay(made.stream, first.run_id, tools(made.stream, selector, MemorySink(target)), 1)
    assert len(target.received) == 100
