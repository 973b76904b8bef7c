"""The write protocol under crashes, lost answers, stalls, deleted tables and racing reindexers.

A failure prints its seed; `PIK_SEED=<seed>` repeats exactly that schedule.
"""

from __future__ import annotations

import os

import pytest

from pik.execution.stream import Deduplication
from simulation.capture_scenario import Scenario, judge
from simulation.virtual_loop import run
from simulation.world import Faults, World

SCHEDULES = 1_000


def play(seed: int, deduplication: Deduplication) -> tuple[World, list[str], int]:
    world = World(seed, deduplication)
    scenario = Scenario(world)
    run(scenario.run(Faults()))
    return world, judge(world, scenario.log), len(scenario.log.told)


def seeds() -> range | list[int]:
    return [int(os.environ["PIK_SEED"])] if "PIK_SEED" in os.environ else range(SCHEDULES)


@pytest.mark.parametrize("deduplication", list(Deduplication))
def test_no_schedule_breaks_a_law(deduplication: Deduplication) -> None:
    told = 0
    for seed in seeds():
        world, broken, answers = play(seed, deduplication)
        told += answers
        assert not broken, f"PIK_SEED={seed}: {broken}\n" + "\n".join(world.trace[-400:])
    assert told > len(list(seeds()))


def test_a_seed_repeats_its_schedule_exactly() -> None:
    first, _, _ = play(7, Deduplication.ON_WRITE)
    second, _, _ = play(7, Deduplication.ON_WRITE)
    assert first.trace == second.trace
