"""The write protocol under crashes, lost answers, stalls, deleted tables and racing reindexers.

A failure prints its seed; `PIK_SEED=<seed>` repeats exactly that schedule.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from pik.execution.capture.settings import CaptureSettings
from pik.execution.retrying import Patience
from pik.execution.stream import Deduplication
from simulation.capture_scenario import SETTINGS, Scenario, judge
from simulation.fates import Faults
from simulation.virtual_loop import schedules
from simulation.world import World

SCHEDULES = 1_000
HARSH_SCHEDULES = 200
HARSH = Faults(lost=0.12, refused=0.12)
IMPATIENT = CaptureSettings(max_rows=3, void_wait=2.0, patience=Patience(2, 0.1, 0.2), restarts=3)


def play(
    seed: int,
    deduplication: Deduplication,
    faults: Faults | None = None,
    settings: CaptureSettings = SETTINGS,
    *,
    page: int = 1_000,
    writers: int = 2,
) -> tuple[World, list[str], int]:
    world = World(seed, deduplication, page)
    scenario = Scenario(world, writers=writers, settings=settings)
    world.run(scenario.run(faults or Faults()))
    return world, judge(world, scenario.log), len(scenario.log.told)


def seeds(count: int) -> range | list[int]:
    return [int(os.environ["PIK_SEED"])] if "PIK_SEED" in os.environ else range(count)


def explained(seed: int, broken: list[str], world: World) -> str:
    return f"PIK_SEED={seed}: {broken}\n{world.explained()}"


@pytest.mark.parametrize("deduplication", list(Deduplication))
def test_no_schedule_breaks_a_law(deduplication: Deduplication) -> None:
    told = 0
    for seed in schedules(seeds(SCHEDULES)):
        world, broken, answers = play(seed, deduplication)
        told += answers
        assert not broken, explained(seed, broken, world)
    assert told > len(list(seeds(SCHEDULES)))


@pytest.mark.parametrize("deduplication", list(Deduplication))
def test_writers_that_give_up_break_no_law_either(deduplication: Deduplication) -> None:
    """So many answers are lost that writers give up, void their own keys and meet what they abandoned; and
    listings come one key a page, so that others write between two pages."""
    calls: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for seed in schedules(seeds(HARSH_SCHEDULES)):
        world, broken, _ = play(seed, deduplication, HARSH, IMPATIENT, page=1, writers=3)
        assert not broken, explained(seed, broken, world)
        calls.update(f"{what} {call}" for _, what, call in world.trace)
        seen += world.seen
    assert calls["loses the answer of objects.create"] > HARSH_SCHEDULES / 2
    assert calls["dies after objects.create"] > 0
    assert seen["table deleted"] > HARSH_SCHEDULES / 2
    if deduplication is Deduplication.ON_WRITE:
        assert calls["does index.take_over"] > HARSH_SCHEDULES / 2


def test_a_seed_repeats_its_schedule_exactly() -> None:
    first, _, _ = play(7, Deduplication.ON_WRITE)
    second, _, _ = play(7, Deduplication.ON_WRITE)
    assert first.trace == second.trace
