"""How fast a run sends: its pace is kept, and its chunks are as long as the target is fast."""

from __future__ import annotations

from pathlib import Path

from pik.execution.replay.ledger import read_ledger
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.settings import ShardSettings
from pik.memory.sink import DELIVERED, MemorySink, MemoryTarget
from pik.planning.replay.batches import TargetOrder
from pik.planning.replay.messages import Message
from pik.planning.replay.pace import EffectivePace
from pik.ports.sinks import Delivery, SinkTraits
from reading.streams import world
from replay.slices import event, ran

EACH = SinkTraits(3, 262_144, 2, TargetOrder.MESSAGE, None)


async def test_events_a_second_is_one_budget_of_all_shards(tmp_path: Path) -> None:
    made = await world(tmp_path)
    events = [event(n, f"e{n % 9}") for n in range(60)]
    times: list[int] = []

    async def answer(message: Message) -> Delivery:
        times.append(made.clock.now().micros)
        return DELIVERED

    pacer = Pacer(made.clock, EffectivePace(5))
    sink = MemorySink(MemoryTarget(), EACH, answer)
    await ran(made, events, sink, parallelism=3, shards=3, changes={"pacer": pacer})
    assert len(times) == 60
    for start in times:
        assert sum(start <= time < start + 1_000_000 for time in times) <= 5
    assert 11_000_000 <= max(times) - min(times) <= 16_000_000


async def test_a_speed_keeps_the_distances_of_event_time_and_sends_nothing_early(tmp_path: Path) -> None:
    made = await world(tmp_path)
    events = [event(n * 60, f"e{n % 3}") for n in range(30)]  # one a minute
    times: dict[str, int] = {}

    async def answer(message: Message) -> Delivery:
        times[message.event_id] = made.clock.now().micros
        return DELIVERED

    changes = {
        "pacer": Pacer(made.clock, EffectivePace(None, 60)),
        "settings": ShardSettings(chunk_events=1_000),
    }
    await ran(made, events, MemorySink(MemoryTarget(), EACH, answer), changes=changes)
    start = min(times.values())
    for n, each in enumerate(events):
        assert -1.0 <= (times[each.event_id] - start) / 1_000_000 - n <= 1.0


async def test_waiting_is_cut_short_by_a_halt(tmp_path: Path) -> None:
    made = await world(tmp_path)
    events = [event(0), event(3_000_000)]
    began = made.clock.now().micros
    changes = {
        "pacer": Pacer(made.clock, EffectivePace(None, 1)),
        "halted": lambda: made.clock.now().micros - began > 10_000_000,
    }
    target = MemoryTarget()
    _, end = await ran(made, events, MemorySink(target, EACH), changes=changes)
    assert end is None
    assert len(target.received) == 1
    assert made.clock.now().micros - began < 13_000_000


async def test_chunks_grow_with_the_targets_speed_and_last_about_five_seconds(tmp_path: Path) -> None:
    made = await world(tmp_path)
    events = [event(n, f"e{n}") for n in range(400)]

    async def slow(message: Message) -> Delivery:
        made.clock.advance(0.1)
        return DELIVERED

    changes = {"settings": ShardSettings(chunk_events=1_000, first_chunk=10)}
    plan, _ = await ran(made, events, MemorySink(MemoryTarget(), EACH, slow), changes=changes)
    counts = [head.count async for head, _ in read_ledger(made.stream, plan.run_id)]
    assert counts[:3] == [10, 40, 50]
    assert max(counts) <= 60


async def test_a_chunk_of_a_bulk_target_is_the_same_calls_at_any_pace(tmp_path: Path) -> None:
    """What it makes is named by its calls: sent again at another pace, it must find it there."""
    made = await world(tmp_path)
    target = MemoryTarget()
    bulk = SinkTraits(1_000, 2**30, 1, TargetOrder.BATCH, float("inf"))
    pacer = Pacer(made.clock, EffectivePace(events_per_second=1))
    changes = {"pacer": pacer, "settings": ShardSettings(chunk_events=4, first_chunk=4)}
    events = [event(n) for n in range(23)]
    await ran(made, events, MemorySink(target, bulk), changes=changes)
    calls = {(batch.chunk, len(batch.messages)) for batch, _ in target.received}
    assert sorted(calls) == [(chunk, 4) for chunk in range(5)] + [(5, 3)]
