"""No schedule of crashes, lost, late and doubled calls, stalls, rebuilds, deleted tables, takeovers and
expiry breaks a law. A failure prints its seed; `PIK_SEED=<seed>` or `make simulate SEED=<seed>` repeats it.

A few thousand of them here; `make simulate` plays as many as one likes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

import pytest

from simulation.campaign import KINDS, TURNS, Played, kind_of, play
from simulation.virtual_loop import schedules

SCHEDULES = {
    "life, OnWrite": 300,
    "life, OnRead": 200,
    "life and expiry, OnWrite": 150,
    "life and expiry, OnRead": 100,
    "slow life, OnWrite": 200,
    "slow life and expiry, OnWrite": 100,
    "capture, OnWrite": 700,
    "capture, OnRead": 400,
    "impatient capture, OnWrite": 150,
    "impatient capture, OnRead": 150,
    "racing rebuilds": 100,
}
"""Of replay's the tests are beside replay's."""

MUST_HAPPEN = {
    "life": {
        *(
            "table deleted",
            "reindexed",
            "taken over",
            "orphans indexed",
            "aggregates",
            "runs begun",
            "repeats",
        ),
        *("dies before", "dies during", "dies after", "loses the answer of", "gives up on", "does twice"),
        *("is echoed at", "is paused at", "is refused", "is throttled at", "stalls"),
    },
    "life and expiry": {"segment expired", "runs ended by retention"},
    "capture": {"table deleted", "reindexed", "answers", "dies after", "does twice", "gives up on"},
    "impatient capture": {"loses the answer of", "gives up on", "dies during", "table deleted"},
}


def seeds(kind: str) -> Iterable[int]:
    """With PIK_SEED that one alone, where it is of this kind."""
    if "PIK_SEED" not in os.environ:
        return range(SCHEDULES[kind])
    seed = int(os.environ["PIK_SEED"])
    return [seed] if kind_of(seed) == kind else []


@pytest.mark.parametrize("kind", SCHEDULES)
def test_no_schedule_breaks_a_law(kind: str) -> None:
    seen: Counter[str] = Counter()
    for seed in schedules(seeds(kind)):
        played = play(seed, kind)
        assert not played.broken, played.explained
        seen += played.world.seen
    if "PIK_SEED" not in os.environ:
        missing = MUST_HAPPEN.get(kind.partition(",")[0], set()) - seen.keys()
        assert not missing, f"this never happened: {missing}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_repeats_its_schedule_exactly(kind: str) -> None:
    first, second = play(7, kind), play(7, kind)
    assert first.world.trace == second.world.trace
    assert first.world.bucket.objects == second.world.bucket.objects
    assert len(first.world.trace) > 20


def test_every_kind_has_its_turn() -> None:
    assert set(TURNS) == KINDS.keys() == {*SCHEDULES, "replay"}


def test_what_ends_in_an_error_is_a_failure_that_names_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.life.Life._found", None)
    played: Played = play(20)
    assert "TypeError" in played.broken[0]
    assert played.explained.startswith("PIK_SEED=20 (life, OnWrite)")
