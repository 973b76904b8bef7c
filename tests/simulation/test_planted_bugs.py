"""A simulator that finds nothing proves nothing: each step of the protocols, left out, is caught."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulation.campaign import play
from simulation.plants import PLANTS, Plant
from simulation.virtual_loop import schedules

WITHIN = 10_000
PAGE = Path(__file__).resolve().parents[2] / "docs/simulation.md"


def caught(planted: Plant, within: int = WITHIN) -> tuple[int, list[str]] | None:
    """How many schedules it took, and the laws that were seen broken then; None: it was not found."""
    for seed in schedules(range(within)):
        with pytest.MonkeyPatch.context() as patch:
            planted.plant(patch)
            broken = play(seed, planted.kind).broken
        if broken:
            return seed + 1, broken
    return None


@pytest.mark.parametrize("planted", PLANTS, ids=lambda planted: planted.plant.__name__)
def test_a_planted_bug_is_caught(planted: Plant, record_property: pytest.RecordProperty) -> None:
    found = caught(planted)
    assert found is not None, f"not caught within {WITHIN} schedules"
    record_property("schedules", found[0])


def test_the_page_names_every_plant_and_no_other() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index("| what is left out") :].splitlines()[2:]
    told = [tuple(cell.strip() for cell in line.strip("|").split("|")[:2]) for line in table if line]
    assert told == [(f"{planted.name}: {planted.step}", planted.kind) for planted in PLANTS]
