"""A bounded campaign in every run of the tests; `make crash` kills more than 200 times."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.campaign import campaign, planned

pytestmark = pytest.mark.emulator

KILLS = 9


@pytest.mark.parametrize("number", [0, 1])
async def test_what_is_killed_again_and_again_keeps_its_promises(
    emulator: str, tmp_path: Path, number: int
) -> None:
    """One round OnWrite and one OnRead, of processes apart: writers, replay workers, aggregate workers."""
    rounds = planned(seed=3, rounds=2, local=0, share=0.2, moments=3)
    outcome = await campaign(emulator, tmp_path, [rounds[number]], seed=3, least=600)
    (played,) = outcome.rounds
    assert played.faults == []
    assert sum(kill.in_the_middle for kill in played.kills) >= KILLS - 2
    assert len(played.kills) >= KILLS
    assert played.verdict.named > 0
    assert played.verdict.deliveries >= 2 * played.verdict.events > 600


def test_a_seed_repeats_its_kills() -> None:
    assert planned(3, 2, 1) == planned(3, 2, 1)
    assert planned(3, 2, 1) != planned(4, 2, 1)


def test_the_whole_campaign_kills_at_every_step_more_than_200_times() -> None:
    rounds = planned(1, 4, 2)
    assert sum(len(fates) for each in rounds for fates in each.fates.values()) > 250
