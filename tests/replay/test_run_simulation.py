"""Workers of one run that stall, die, lose answers and take over from each other."""

from __future__ import annotations

import pytest

from simulation.campaign import play
from simulation.virtual_loop import schedules

SEEDS = 400


@pytest.mark.parametrize("block", range(5))
def test_no_schedule_breaks_a_law(block: int) -> None:
    for seed in schedules(range(block * SEEDS // 5, (block + 1) * SEEDS // 5)):
        played = play(seed, "replay")
        assert not played.broken, played.explained
