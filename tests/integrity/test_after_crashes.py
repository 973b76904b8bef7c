"""Whatever crashes, lost answers and rebuilds leave behind is no sign of tampering: verify says so."""

from __future__ import annotations

import asyncio

import pytest

from pik.execution.orphans import index_orphans
from pik.execution.seals import seal_segments
from pik.execution.stream import Deduplication
from pik.execution.verify import Kind, Verification, verify
from simulation.capture_scenario import Scenario
from simulation.fates import Faults
from simulation.virtual_loop import schedules
from simulation.world import World

SCHEDULES = 60


async def play(world: World) -> Verification:
    await Scenario(world).run(Faults())
    await asyncio.sleep(600)  # of the simulated clock: nothing is recent any more
    stream = world.process("operator").stream()
    await index_orphans(stream)
    await seal_segments(stream, settle=60)
    return await verify(stream)


@pytest.mark.parametrize("deduplication", list(Deduplication))
def test_no_schedule_is_taken_for_tampering(deduplication: Deduplication) -> None:
    rows = 0
    for seed in schedules(range(SCHEDULES)):
        world = World(seed, deduplication)
        result = world.run(play(world))
        assert result.ok, (seed, result)
        assert {finding.kind for finding in result.findings} <= {Kind.ABANDONED}
        assert result.checked.sealed == result.checked.segments
        rows += result.checked.rows
    assert rows > 10 * SCHEDULES
