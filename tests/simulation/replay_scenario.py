"""One run: workers of it that stall, die, lose answers and take over from each other, on virtual time.

What runs is the engine; the ports are in memory, and every call has a seeded fate (simulation.world).
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

from pik.domain.errors import PikError
from pik.execution.reindex import reindex
from pik.execution.replay.ledger import read_ledger, reconcile_run
from pik.execution.replay.run import run_replay
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import End, EndState
from replay.slices import ListSelector, begin, event, spec, tools
from simulation.fates import CALM, Faults
from simulation.target import TRAITS, Noted, SimulatedSink, Target
from simulation.world import Crashed, World

FAULTS = Faults(crash=0.02, lost=0.02, refused=0.02, twice=0.01, paused=0.005, stall=0.02)


async def scenario(world: World) -> list[str]:
    """Plays one schedule; the laws that it broke, in words."""
    random = world.random
    operator = world.process("operator").stream()
    await reindex(operator, world.table.ensure)
    events = [event(n, f"e{random.randrange(6)}") for n in range(random.randrange(60))]
    selector = ListSelector(events, piece=random.randrange(1, 9))
    plan = await begin(operator, selector, spec(shards=random.randrange(1, 4), retriesPerShard=100))
    target = Target()
    traits = random.choice(TRAITS)
    ends: list[End] = []

    async def work() -> None:
        """One pod after the other, until one has seen the end."""
        while True:
            process = world.process("worker")
            stream = process.stream()
            sink = SimulatedSink(process, target, traits)
            used = tools(stream, selector, sink, holder=process.name, observer=Noted(world))
            try:
                end = await run_replay(stream, plan.run_id, used, 2)
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
    return await judge(world, plan, target, [e.event_id for e in events], ends)


async def judge(
    world: World, plan: ReplayPlan, target: Target, sent: list[str], ends: list[End]
) -> list[str]:
    broken = []
    stream = world.process("judge").stream()
    if any(end != ends[0] for end in ends) or ends[0].state is not EndState.SUCCEEDED:
        broken.append(f"the workers saw other ends: {ends}")
    received = {taken.event_id for taken in target.received}
    if ends[0].totals.sent != len(sent) or received != set(sent):
        broken.append(f"{len(set(sent) - received)} events are missing")
    if not (await reconcile_run(stream, plan)).whole:
        broken.append("the ledger is not whole")
    firsts: dict[str, list[str]] = defaultdict(list)
    for taken in target.received:
        if taken.event_id not in firsts[taken.entity_id]:
            firsts[taken.entity_id].append(taken.event_id)
    broken += [f"{entity} is out of order" for entity, ids in firsts.items() if ids != sorted(ids)]
    named = {
        entry.key
        async for head, entries in read_ledger(stream, plan.run_id)
        for entry in entries
        if head.in_doubt or entry.attempts > 1
    }
    again = Counter(taken.key for taken in target.received)
    repeated = {key for key, times in again.items() if times > 1}
    world.seen["repeats"] += len(repeated)
    unnamed = repeated - named
    if unnamed:
        broken.append(f"{len(unnamed)} repeats that the ledger does not name")
    return broken
