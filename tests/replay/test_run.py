"""A run sends each event of its plan, in order, whatever dies on the way; and it is done once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pik.api.conditions import Reason
from pik.domain.errors import LeaseLost, OwnershipConflict, RunKeyConflict, TargetUnavailable, Unavailable
from pik.domain.instants import Instant
from pik.execution.ownership import OwnerRecord
from pik.execution.replay.ledger import read_ledger, read_progress, reconcile_run
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import begin_run, read_end, run_keys
from pik.execution.replay.shard import run_shard
from pik.execution.stream import Stream
from pik.memory.hooks import Hook
from pik.memory.index import MemoryIndex
from pik.memory.objects import MemoryObjectStore
from pik.memory.sink import DELIVERED, MemorySink, MemoryTarget
from pik.planning.replay.batches import TargetOrder
from pik.planning.replay.messages import Message
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import ChunkHead, End, EndState, LedgerEntry, Repeats, Result
from pik.ports.sinks import Delivery, Disposition, SinkTraits
from reading.streams import World, world
from replay.slices import ListSelector, ReplayEvent, begin, event, ran, run_of, spec, tools

EACH = SinkTraits(3, 262_144, 2, TargetOrder.MESSAGE, None)
FIFO = SinkTraits(10, 262_144, 2, TargetOrder.MESSAGE, 300.0)
UNORDERED = SinkTraits(10, 262_144, 3, TargetOrder.NONE, None)
WHOLE = SinkTraits(1_000, 10**9, 1, TargetOrder.BATCH, None)


class Crashed(BaseException):
    """The process is dead."""


@dataclass
class Fate:
    """A process whose `at`th call (hooks counted one by one) is its last, or loses its answer."""

    at: int
    lost: bool = False
    calls: int = 0
    dead: bool = False

    async def before(self, call: str) -> None:
        await self._meet(call, effect=False)

    async def after(self, call: str) -> None:
        await self._meet(call, effect=True)

    async def _meet(self, call: str, *, effect: bool) -> None:
        if self.dead:
            raise Crashed(call)
        self.calls += 1
        if self.calls - 1 == self.at:
            if self.lost and not call.startswith("sink"):
                raise Unavailable(f"{call} got no answer" + (", and took effect" if effect else ""))
            self.dead = not self.lost
            if self.dead:
                raise Crashed(call)


def process(made: World, before: Hook, after: Hook) -> Stream:
    """The stream as one process sees it, with hooks at all of its calls."""
    return replace(
        made.stream,
        objects=MemoryObjectStore(made.bucket, made.clock, before, after, page=3),
        index=MemoryIndex(made.table, before, after),
    )


EVENTS = [event(n, f"e{n * 7 % 5}") for n in range(23)]


async def ledger_of(stream: Stream, run: str) -> list[tuple[ChunkHead, list[LedgerEntry]]]:
    return [chunk async for chunk in read_ledger(stream, run)]


async def check(made: World, plan: ReplayPlan, target: MemoryTarget, events: Sequence[ReplayEvent]) -> None:
    """What must hold of a run that has succeeded, however it came about."""
    assert set(target.event_ids) == {event.event_id for event in events}
    reconciliation = await reconcile_run(made.stream, plan)
    assert reconciliation.whole
    assert reconciliation.sent == len(events)
    firsts: dict[str, list[str]] = defaultdict(list)
    for _, message in target.received:
        sent = firsts[message.entity_id]
        if message.event_id not in sent:
            sent.append(message.event_id)
    for entity, ids in firsts.items():
        assert ids == [event.event_id for event in events if event.entity_id == entity]
    again = {key for key in target.keys if target.keys.count(key) > 1}
    named = {
        entry.key
        for head, entries in await ledger_of(made.stream, plan.run_id)
        for entry in entries
        if head.in_doubt or entry.attempts > 1
    }
    assert again <= named


@pytest.mark.parametrize("lost", [False, True], ids=["crash", "lost answer"])
@pytest.mark.parametrize("shards", [1, 3])
async def test_whatever_call_is_the_last_the_next_worker_ends_the_run(
    tmp_path: Path, shards: int, lost: bool
) -> None:
    at = 0
    while True:
        made = await world(tmp_path)
        selector = ListSelector(EVENTS)
        plan = await begin(made.stream, selector, spec(shards=shards))
        target = MemoryTarget()
        fate = Fate(at, lost)
        doomed = process(made, fate.before, fate.after)
        sink = MemorySink(target, EACH, before=fate.before, after=fate.after)
        end: End | None = None
        try:
            end = await run_replay(doomed, plan.run_id, tools(doomed, selector, sink, holder="first"), 2)
        except (Crashed, BaseExceptionGroup, Unavailable):
            made.clock.advance(31)
        if end is None:
            sink = MemorySink(target, EACH)
            end = await run_replay(made.stream, plan.run_id, tools(made.stream, selector, sink), 2)
        assert end is not None
        assert (end.state, end.totals.sent) == (EndState.SUCCEEDED, len(EVENTS))
        await check(made, plan, target, EVENTS)
        if fate.calls <= at:
            break
        at += 1
    assert at > 70


@settings(max_examples=60, deadline=None)
@given(
    entities=st.lists(st.integers(0, 4), max_size=30),
    fates=st.lists(st.integers(0, 120), max_size=4),
    traits=st.sampled_from([EACH, FIFO, WHOLE]),
    order=st.sampled_from(["EntityTime", "EventTime"]),
    shards=st.integers(1, 3),
)
def test_a_run_that_dies_again_and_again_is_whole_in_the_end(
    tmp_path_factory: pytest.TempPathFactory,
    entities: list[int],
    fates: list[int],
    traits: SinkTraits,
    order: str,
    shards: int,
) -> None:
    events = [event(n, f"e{entity}") for n, entity in enumerate(entities)]
    what = spec(order=order, shards=shards if order == "EntityTime" else 1)

    async def scenario() -> None:
        made = await world(tmp_path_factory.mktemp("segments"))
        selector = ListSelector(events)
        plan = await begin(made.stream, selector, what)
        target = MemoryTarget()
        for number, at in enumerate(fates):
            fate = Fate(at)
            doomed = process(made, fate.before, fate.after)
            sink = MemorySink(target, traits, before=fate.before, after=fate.after)
            try:
                await run_replay(doomed, plan.run_id, tools(doomed, selector, sink, holder=f"{number}"), 2)
            except (Crashed, BaseExceptionGroup):
                made.clock.advance(31)
        sink = MemorySink(target, traits)
        end = await run_replay(made.stream, plan.run_id, tools(made.stream, selector, sink), 2)
        assert end is not None
        assert end.state is EndState.SUCCEEDED
        await check(made, plan, target, events)
        if order == "EventTime" and not fates:
            assert target.event_ids == [event.event_id for event in events]

    asyncio.run(scenario())


async def test_a_run_that_ended_sends_nothing_however_it_is_asked_for(tmp_path: Path) -> None:
    made = await world(tmp_path)
    target = MemoryTarget()
    plan, end = await ran(made, EVENTS, MemorySink(target, EACH))
    sent = len(target.received)
    made.clock.advance(1_000)
    made.table.drop()  # a new table, no lease, no status: only the bucket remembers
    await made.table.ensure()
    await made.ready()
    again, second = await ran(made, EVENTS, MemorySink(target, EACH))
    assert len(target.received) == sent == len(EVENTS)
    assert again.hash != plan.hash  # a later snapshot
    assert second == end
    shard = await run_shard(
        made.stream, plan.run_id, 0, tools(made.stream, ListSelector(EVENTS), MemorySink(target))
    )
    assert shard == end
    assert len(target.received) == sent


async def test_another_run_key_is_another_run_with_other_keys(tmp_path: Path) -> None:
    made = await world(tmp_path)
    target = MemoryTarget()
    selector = ListSelector(EVENTS)
    for key in ("1", "2"):
        plan = await begin(made.stream, selector, spec(), key)
        await run_replay(made.stream, plan.run_id, tools(made.stream, selector, MemorySink(target, EACH)), 1)
    assert len(target.keys) == len(set(target.keys)) == 2 * len(EVENTS)


async def test_a_run_key_belongs_to_one_spec(tmp_path: Path) -> None:
    made = await world(tmp_path)
    selector = ListSelector(EVENTS)
    await begin(made.stream, selector, spec())
    with pytest.raises(RunKeyConflict, match="change runKey"):
        await begin(made.stream, selector, spec(shards=2))


async def test_a_plan_begins_no_run_of_another_key(tmp_path: Path) -> None:
    made = await world(tmp_path)
    plan = await begin(made.stream, ListSelector(EVENTS), spec())
    with pytest.raises(RunKeyConflict, match="is not of run '2'"):
        await begin_run(made.stream, plan, namespace="tests", name="again", run_key="2", approved_by=None)


async def test_the_record_is_found_by_who_lost_the_answer_of_its_creation(tmp_path: Path) -> None:
    made = await world(tmp_path)
    plan = await begin(made.stream, ListSelector(EVENTS), spec())
    given = {"namespace": "tests", "name": "again", "run_key": "1", "approved_by": None}
    first = await begin_run(made.stream, plan, **given)
    assert await begin_run(made.stream, plan, **given) == first


async def test_two_workers_do_not_both_go_on(tmp_path: Path) -> None:
    made = await world(tmp_path)
    selector = ListSelector(EVENTS)
    plan = await begin(made.stream, selector, spec())
    target = MemoryTarget()
    await made.stream.index.acquire(f"{plan.run_id}/0000", "other", made.clock.now(), 30)
    sink = MemorySink(target, EACH)
    with pytest.raises(LeaseLost):
        await run_shard(made.stream, plan.run_id, 0, tools(made.stream, selector, sink))
    assert target.received == []
    end = await run_replay(made.stream, plan.run_id, tools(made.stream, selector, sink), 1)  # waits for it
    assert end is not None
    assert end.totals.sent == len(EVENTS)


async def test_nothing_is_sent_once_another_cluster_has_taken_the_stream_over(tmp_path: Path) -> None:
    made = await world(tmp_path)
    selector = ListSelector(EVENTS)
    layout = made.stream.layout
    owner = OwnerRecord(layout.stream_id, "old", "default", "s", 1)
    await made.stream.objects.create(layout.owner, msgspec.json.encode(owner))
    ours = replace(made.stream, epoch=1)
    plan = await begin(ours, selector, spec())
    there = await made.stream.objects.read(layout.owner)
    taken = msgspec.structs.replace(owner, cluster="new", epoch=2)
    await made.stream.objects.replace(layout.owner, msgspec.json.encode(taken), there.etag)
    target = MemoryTarget()
    with pytest.raises(OwnershipConflict, match="new/default/s"):
        await run_replay(ours, plan.run_id, tools(ours, selector, MemorySink(target, EACH)), 1)
    with pytest.raises(OwnershipConflict, match="new/default/s"):
        await begin(ours, selector, spec(), key="2")
    assert target.received == []
    theirs = replace(made.stream, epoch=2)
    end = await run_replay(theirs, plan.run_id, tools(theirs, selector, MemorySink(target, EACH)), 1)
    assert end is not None
    assert end.totals.sent == len(EVENTS)


async def test_a_worker_that_was_paused_sends_no_more_than_the_chunk_it_had_begun(tmp_path: Path) -> None:
    made = await world(tmp_path)
    selector = ListSelector(EVENTS)
    plan = await begin(made.stream, selector, spec())
    target = MemoryTarget()
    paused, go_on = asyncio.Event(), asyncio.Event()

    async def pause(call: str) -> None:
        if len(target.received) == 8 and not paused.is_set():
            paused.set()
            await go_on.wait()

    slow = MemorySink(target, EACH, before=pause)
    first = asyncio.create_task(
        run_shard(made.stream, plan.run_id, 0, tools(made.stream, selector, slow, holder="first"))
    )
    await paused.wait()
    made.clock.advance(31)
    quick = tools(made.stream, selector, MemorySink(target, EACH), holder="second")
    end = await run_replay(made.stream, plan.run_id, quick, 1)
    before = len(target.received)
    go_on.set()
    with pytest.raises(LeaseLost):
        await first
    assert end is not None
    assert len(target.received) - before <= 4  # the chunk
    await check(made, plan, target, EVENTS)


def refusing(*ids: str, reason: str = "BadRequest") -> Callable[[Message], Any]:
    async def answer(message: Message) -> Delivery:
        if message.event_id in ids:
            return Delivery(Disposition.REFUSED, "400", reason)
        return DELIVERED

    return answer


async def test_stop_ends_the_run_and_says_what_was_not_sent(tmp_path: Path) -> None:
    made = await world(tmp_path)
    target = MemoryTarget()
    sink = MemorySink(target, EACH, refusing(EVENTS[9].event_id))
    plan, end = await ran(made, EVENTS, sink)
    assert end is not None
    assert (end.state, end.reason) == (EndState.FAILED, Reason.TARGET_FAILED)
    assert [failure.event_id for failure in end.failures] == [EVENTS[9].event_id]
    reconciliation = await reconcile_run(made.stream, plan)
    assert (reconciliation.failed, reconciliation.whole, reconciliation.gaps) == (1, False, ())
    assert reconciliation.unsent == len(EVENTS) - reconciliation.sent - 1
    assert len(target.received) == reconciliation.sent < 13
    entity = EVENTS[9].entity_id
    later = {e.event_id for e in EVENTS[10:] if e.entity_id == entity}
    assert not later & set(target.event_ids)
    assert (
        await run_replay(made.stream, plan.run_id, tools(made.stream, ListSelector(EVENTS), sink), 1) == end
    )


@pytest.mark.parametrize("traits", [EACH, FIFO, UNORDERED])
async def test_hold_entity_keeps_its_later_events_back(tmp_path: Path, traits: SinkTraits) -> None:
    made = await world(tmp_path)
    target = MemoryTarget()
    sink = MemorySink(target, traits, refusing(EVENTS[1].event_id))
    plan, end = await ran(made, EVENTS, sink, onError={"action": "HoldEntity"})
    entity = EVENTS[1].entity_id
    kept_back = [e.event_id for e in EVENTS[2:] if e.entity_id == entity]
    assert end is not None
    assert (end.state, end.reason) == (EndState.SUCCEEDED, Reason.SUCCEEDED_WITH_FAILURES)
    reconciliation = await reconcile_run(made.stream, plan)
    assert reconciliation.whole
    assert (reconciliation.failed, reconciliation.held) == (1, len(kept_back))
    assert not set(kept_back) & set(target.event_ids)


async def test_an_entity_stays_held_after_a_restart(tmp_path: Path) -> None:
    made = await world(tmp_path)
    target = MemoryTarget()
    sink = MemorySink(target, EACH, refusing(EVENTS[0].event_id, EVENTS[6].event_id))
    selector = ListSelector(EVENTS)
    plan = await begin(made.stream, selector, spec(onError={"action": "HoldEntity"}))
    for chunks in range(1, 20):
        looked = 0

        def halted(most: int = 1) -> bool:
            nonlocal looked
            looked += 1
            return looked > 2 + most

        end = await run_replay(
            made.stream, plan.run_id, tools(made.stream, selector, sink, halted=halted, holder=f"{chunks}"), 1
        )
        if end is not None:
            break
    assert chunks > 2
    reconciliation = await reconcile_run(made.stream, plan)
    held = {EVENTS[0].entity_id, EVENTS[6].entity_id}
    assert reconciliation.whole
    after_failure = [n for n, e in enumerate(EVENTS) if e.entity_id in held and n not in (0, 1, 6)]
    assert reconciliation.held == len(after_failure)  # 1 is of the second entity, before its failure


async def test_refused_events_go_to_the_dead_letter_queue_and_the_run_goes_on(tmp_path: Path) -> None:
    made = await world(tmp_path)
    target, dead = MemoryTarget(), MemoryTarget()
    sink = MemorySink(target, EACH, refusing(EVENTS[1].event_id, EVENTS[5].event_id))
    plan, end = await ran(
        made,
        EVENTS,
        sink,
        changes={"dead_letter": MemorySink(dead)},
        onError={"action": "DeadLetter", "deadLetter": {"queueURL": "https://sqs.example.test/1/dead"}},
    )
    assert end is not None
    assert (end.totals.sent, end.totals.failed) == (len(EVENTS) - 2, 2)
    assert dead.event_ids == [EVENTS[1].event_id, EVENTS[5].event_id]
    ledger = await ledger_of(made.stream, plan.run_id)
    assert [e.event_id for _, entries in ledger for e in entries if e.dead_lettered] == dead.event_ids


async def test_stale_entities_are_skipped_and_accounted_for(tmp_path: Path) -> None:
    made = await world(tmp_path)
    target = MemoryTarget()
    sink = MemorySink(target, EACH)
    plan, _ = await ran(made, EVENTS, sink, stale=["e2"], onStale="Skip", shards=2, parallelism=2)
    skipped = [e for e in EVENTS if e.entity_id == "e2"]
    reconciliation = await reconcile_run(made.stream, plan)
    assert reconciliation.whole
    assert (reconciliation.skipped, reconciliation.sent) == (len(skipped), len(EVENTS) - len(skipped))
    assert not {e.event_id for e in skipped} & set(target.event_ids)


async def test_a_target_that_comes_back_gets_everything(tmp_path: Path) -> None:
    made = await world(tmp_path)
    target = MemoryTarget()
    tries = 0

    async def answer(message: Message) -> Delivery:
        nonlocal tries
        tries += 1
        return DELIVERED if tries > 40 else Delivery(Disposition.RETRYABLE, "503", "Unavailable")

    plan, end = await ran(made, EVENTS, MemorySink(target, EACH, answer))
    assert end is not None
    assert end.state is EndState.SUCCEEDED
    await check(made, plan, target, EVENTS)


async def test_a_target_that_stays_away_fails_the_run_after_its_retries(tmp_path: Path) -> None:
    made = await world(tmp_path)

    async def answer(message: Message) -> Delivery:
        return Delivery(Disposition.RETRYABLE, "503", "Unavailable")

    plan, end = await ran(made, EVENTS, MemorySink(MemoryTarget(), EACH, answer), retriesPerShard=2)
    assert end is not None
    assert (end.state, end.reason) == (EndState.FAILED, Reason.RETRIES_EXHAUSTED)
    assert "503" in end.message
    assert await read_end(made.stream, plan.run_id) == end


async def test_what_a_target_asks_for_is_waited_for(tmp_path: Path) -> None:
    made = await world(tmp_path)
    target = MemoryTarget()
    first: list[Instant] = []

    async def answer(message: Message) -> Delivery:
        first.append(made.clock.now())
        if len(first) == 1:
            return Delivery(Disposition.RETRYABLE, "429", "Throttled", retry_after=77.0)
        return DELIVERED

    await ran(made, EVENTS[:1], MemorySink(target, EACH, answer))
    assert first[1].micros - first[0].micros == 77_000_000


async def test_a_wait_that_is_asked_for_and_too_long_gives_the_shard_up(tmp_path: Path) -> None:
    made = await world(tmp_path)

    async def answer(message: Message) -> Delivery:
        return Delivery(Disposition.RETRYABLE, "429", "Throttled", retry_after=86_400.0)

    selector = ListSelector(EVENTS)
    plan = await begin(made.stream, selector, spec())
    with pytest.raises(TargetUnavailable, match="left alone"):
        await run_shard(
            made.stream,
            plan.run_id,
            0,
            tools(made.stream, selector, MemorySink(MemoryTarget(), EACH, answer)),
        )


async def test_a_suspended_run_stops_between_chunks_and_goes_on_without_repeats(tmp_path: Path) -> None:
    made = await world(tmp_path)
    target = MemoryTarget()
    selector = ListSelector(EVENTS)
    plan = await begin(made.stream, selector, spec())
    halted = tools(made.stream, selector, MemorySink(target, EACH), halted=lambda: len(target.received) >= 8)
    assert await run_replay(made.stream, plan.run_id, halted, 1) is None
    assert len(target.received) == 8
    progress = await read_progress(made.stream, plan.run_id)
    assert (progress.totals.sent, progress.shards_succeeded) == (8, 0)
    end = await run_replay(
        made.stream, plan.run_id, tools(made.stream, selector, MemorySink(target, EACH)), 1
    )
    assert end is not None
    assert target.event_ids == [event.event_id for event in EVENTS] or len(target.received) == len(EVENTS)
    await check(made, plan, target, EVENTS)


@pytest.mark.parametrize(("pause", "repeats"), [(31, Repeats.DROPPED), (301, Repeats.POSSIBLE)])
async def test_the_ledger_says_where_a_fifo_queue_could_not_help(
    tmp_path: Path, pause: float, repeats: Repeats
) -> None:
    made = await world(tmp_path)
    selector = ListSelector(EVENTS[:6])
    plan = await begin(made.stream, selector, spec())
    target = MemoryTarget()

    async def die(call: str) -> None:
        raise Crashed

    with pytest.raises((Crashed, BaseExceptionGroup)):
        await run_shard(
            made.stream, plan.run_id, 0, tools(made.stream, selector, MemorySink(target, FIFO, after=die))
        )
    made.clock.advance(pause)
    await run_replay(
        made.stream, plan.run_id, tools(made.stream, selector, MemorySink(target, FIFO), holder="next"), 1
    )
    heads = [head for head, _ in await ledger_of(made.stream, plan.run_id)]
    assert [(head.in_doubt, head.repeats) for head in heads] == [(True, repeats), (False, None)]
    reconciliation = await reconcile_run(made.stream, plan)
    assert (reconciliation.doubted, reconciliation.undropped) == (4, 4 if repeats == "possible" else 0)


async def test_raw_that_expires_midway_ends_the_run(tmp_path: Path) -> None:
    from pik.execution.replay.duckdb_selector import DuckDBSelector
    from reading.streams import DAY, SECOND, START, after, arrival, rows

    made = await world(tmp_path, retention_days=1)
    await made.land(rows([arrival(f"k{n}", after(n), entity_id=f"e{n}") for n in range(9)]), at=START)
    selector = DuckDBSelector(made.stream, str)
    plan = await begin(made.stream, selector, spec())
    target = MemoryTarget()

    async def age(call: str) -> None:
        if len(target.received) == 4:
            made.clock.advance(3 * DAY / SECOND)

    end = await run_replay(
        made.stream, plan.run_id, tools(made.stream, selector, MemorySink(target, EACH, after=age)), 1
    )
    assert end is not None
    assert (end.state, end.reason) == (EndState.FAILED, Reason.RAW_EXPIRED)
    assert end.totals.sent == len(target.received) == 4


async def test_an_empty_slice_succeeds(tmp_path: Path) -> None:
    made = await world(tmp_path)
    plan, end = await ran(made, [], MemorySink(MemoryTarget(), EACH), shards=2)
    assert end is not None
    assert (end.state, end.totals.settled) == (EndState.SUCCEEDED, 0)
    assert run_keys(made.stream, plan.run_id).end in made.bucket.objects
    assert plan.run_id == run_of(made.stream)


async def test_every_ledger_line_says_what_the_target_said(tmp_path: Path) -> None:
    made = await world(tmp_path)
    plan, _ = await ran(made, EVENTS[:3], MemorySink(MemoryTarget(), EACH))
    [(_, entries)] = await ledger_of(made.stream, plan.run_id)
    assert [(e.event_id, e.result, e.answer) for e in entries] == [
        (event.event_id, Result.SENT, "ok") for event in EVENTS[:3]
    ]
