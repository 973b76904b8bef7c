"""Workers of one run that stall, die, lose answers and take over from each other, on virtual time.

What runs is the engine; the ports are in memory, and every call has a seeded fate (simulation.world).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from pik.domain.errors import PikError, Unavailable
from pik.execution.reindex import reindex
from pik.execution.replay.ledger import read_ledger, reconcile_run
from pik.execution.replay.run import run_replay
from pik.memory.sink import MemorySink, MemoryTarget
from pik.planning.replay.batches import TargetOrder
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import End, EndState
from pik.ports.sinks import Batch, Delivery, Disposition, SinkTraits
from replay.slices import ListSelector, begin, event, spec, tools
from simulation import virtual_loop
from simulation.world import CALM, CURRENT, Crashed, Faults, World

SEEDS = 400
FAULTS = Faults(crash=0.01, lost=0.02, refused=0.02, stall=0.02)
TRAITS = [
    SinkTraits(3, 262_144, 2, TargetOrder.MESSAGE, None),
    SinkTraits(10, 262_144, 4, TargetOrder.MESSAGE, 300.0),
    SinkTraits(1_000, 2**30, 1, TargetOrder.BATCH, None),
]


class FaultySink(MemorySink):
    """Where an answer is lost, or a call refused, it says what a real sink says."""

    async def send(self, batch: Batch) -> list[Delivery]:
        try:
            return await super().send(batch)
        except Unavailable as error:
            return [Delivery(Disposition.RETRYABLE, str(error), "Unavailable")] * len(batch.messages)


async def scenario(seed: int) -> list[str]:
    """Plays one schedule; the laws that it broke, in words."""
    world = World(seed)
    random = world.random
    CURRENT.set(world.process("operator"))

    async def table() -> None:
        world.table.exists = True

    await reindex(world.stream(), table)
    events = [event(n, f"e{random.randrange(6)}") for n in range(random.randrange(60))]
    selector = ListSelector(events, piece=random.randrange(1, 9))
    plan = await begin(world.stream(), selector, spec(shards=random.randrange(1, 4), retriesPerShard=100))
    target = MemoryTarget()
    traits = random.choice(TRAITS)
    ends: list[End] = []

    async def work() -> None:
        """One pod after the other, until one has seen the end."""
        while True:
            process = world.process("worker")
            CURRENT.set(process)
            sink = FaultySink(target, traits, before=world._before, after=world._after)
            used = tools(world.stream(), selector, sink, holder=process.name)
            try:
                end = await run_replay(world.stream(), plan.run_id, used, 2)
            except (Crashed, BaseExceptionGroup, PikError):
                await asyncio.sleep(random.random() * 40)
            else:
                assert end is not None
                ends.append(end)
                return

    world.faults = FAULTS
    workers = [asyncio.create_task(work()) for _ in range(random.randrange(1, 4))]
    await asyncio.wait(workers, timeout=20_000)
    world.faults = CALM
    await asyncio.gather(*workers)
    CURRENT.set(world.process("judge"))
    return await judge(world, plan, target, [e.event_id for e in events], ends)


async def judge(
    world: World, plan: ReplayPlan, target: MemoryTarget, sent: list[str], ends: list[End]
) -> list[str]:
    broken = []
    if any(end != ends[0] for end in ends) or ends[0].state is not EndState.SUCCEEDED:
        broken.append(f"the workers saw other ends: {ends}")
    if ends[0].totals.sent != len(sent) or set(target.event_ids) != set(sent):
        broken.append(f"{len(set(sent) - set(target.event_ids))} events are missing")
    if not (await reconcile_run(world.stream(), plan)).whole:
        broken.append("the ledger is not whole")
    firsts: dict[str, list[str]] = defaultdict(list)
    for _, message in target.received:
        if message.event.event_id not in firsts[message.event.entity_id]:
            firsts[message.event.entity_id].append(message.event.event_id)
    broken += [f"{entity} is out of order" for entity, ids in firsts.items() if ids != sorted(ids)]
    named = {
        entry.key
        async for head, entries in read_ledger(world.stream(), plan.run_id)
        for entry in entries
        if head.in_doubt or entry.attempts > 1
    }
    again = {key for key in target.keys if target.keys.count(key) > 1}
    if again - named:
        broken.append(f"{len(again - named)} repeats that the ledger does not name")
    return broken


@pytest.mark.parametrize("block", range(5))
def test_no_schedule_breaks_a_law(block: int) -> None:
    for seed in range(block * SEEDS // 5, (block + 1) * SEEDS // 5):
        broken = virtual_loop.run(scenario(seed))
        assert not broken, (seed, broken)
