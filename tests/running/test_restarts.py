"""A bounded campaign in every run of the tests; `make restarts` kills 50 times."""

from __future__ import annotations

from pathlib import Path

from running.campaign import campaign
from running.scene import Ground


async def test_an_operator_that_is_killed_again_and_again_leaves_the_world_as_the_specs_say(
    ground: Ground, unique: str, tmp_path: Path
) -> None:
    outcome = await campaign(ground, unique[:30], tmp_path, kills=8, objects=15, seed=7)
    assert outcome.faults == []
    assert (outcome.kills, outcome.objects) == (8, 15)
    assert outcome.messages >= 6 * 240
