"""A bounded campaign in every run of the tests; `make crash` kills more than 200 times."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from crash.campaign import Round, campaign, planned
from crash.steps import NAMED, Fate

_PATIENCE = 45.0  # seconds until a step that is come to for sure, on a busy machine too
pytestmark = pytest.mark.emulator


def at(name: str, nth: int = 1) -> Fate:
    step = msgspec.structs.replace(NAMED[name], nth=nth) if nth > 1 else NAMED[name]
    return Fate(step, _PATIENCE)


def any_moment(seconds: float) -> Fate:
    return Fate(seconds=seconds)


ROUNDS = [
    Round(
        number=0,
        deciding=True,
        local=False,
        fates={
            "build": [at("after the generation record")],
            "serve-0": [
                *(at("between index batches", 2), any_moment(0.3), at("before the manifest row")),
                at("before the second look at the generation"),
            ],
            "serve-1": [at("after the reservations"), at("in the answer", 3), at("after the segment's PUT")],
            "rebuild": [at("in a rebuilt manifest row")],
            "orphans": [at("before an orphan's manifest row")],
            "http-plan": [at("after the plan, before the run record")],
            "http-0": [at("after a send", 20)],
            "http-1": [at("after an intent, before its first send"), any_moment(0.2)],
            "queue-0": [at("before an outcome", 2)],
            "queue-conclude": [at("before the run's end")],
            "aggregate": [at("after an aggregate's rows, before its inputs")],
        },
    ),
    Round(
        number=1,
        deciding=False,
        local=False,
        fates={
            "serve-0": [at("in the segment's PUT", 2), at("before the answer")],
            "serve-1": [at("after the segment's PUT", 2)],
            "http-1": [at("in a send", 15)],
            "queue-0": [at("in an outcome")],
            "aggregate": [at("in the version record")],
        },
    ),
]


@pytest.mark.parametrize("round_", ROUNDS, ids=lambda round_: "OnWrite" if round_.deciding else "OnRead")
async def test_what_is_killed_again_and_again_keeps_its_promises(
    emulator: str, tmp_path: Path, round_: Round
) -> None:
    """Of processes apart: writers, what the operator does, replay workers, an aggregate worker."""
    wanted = sum(map(len, round_.fates.values()))
    outcome = await campaign(emulator, tmp_path, [copied(round_)], seed=1, least=500, pause=0.8, largest=60)
    (played,) = outcome.rounds
    assert played.faults == []
    assert len(played.kills) >= 0.8 * wanted
    assert sum(kill.in_the_middle for kill in played.kills) >= 0.7 * wanted
    assert played.verdict.deliveries > 2 * played.verdict.events
    assert played.verdict.repeats > 0
    assert played.verdict.named >= played.verdict.repeating > 0


def copied(round_: Round) -> Round:
    """One whose fates may be spent."""
    return Round(round_.number, round_.deciding, round_.local, {k: list(v) for k, v in round_.fates.items()})


def test_a_seed_repeats_its_kills() -> None:
    assert planned(3, 2, 1) == planned(3, 2, 1)
    assert planned(3, 2, 1) != planned(4, 2, 1)


def test_the_whole_campaign_comes_to_every_step_and_kills_more_than_200_times() -> None:
    fates = [fate for each in planned(1, 4, 2) for found in each.fates.values() for fate in found]
    assert len(fates) > 250
    once = {  # of these one or the other, as it comes
        *("in the owner record", "in the run record", "in the shard's end", "in the run's end"),
        *("after the owner record", "after the run record, before the first send", "after the shard's end"),
        *("after the run's end", "in the version record", "after the version record"),
    }
    assert NAMED.keys() - {fate.name for fate in fates} <= once
