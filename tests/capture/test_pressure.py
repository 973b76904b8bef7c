"""How long an event would have to wait: by how fast those before it went lately."""

from __future__ import annotations

import pytest

from pik.domain.instants import Instant
from pik.execution.capture.pressure import Pressure
from pik.memory.system import ManualClock


def test_a_wait_is_told_by_what_went_before() -> None:
    clock = ManualClock(Instant(0))
    pressure = Pressure(clock)
    pressure.begins()
    clock.advance(1)
    assert pressure.wait(1_000_000) == 0, "nothing is known yet"
    pressure.left(100, 1.0)
    assert pressure.wait(200) == pytest.approx(2)
    pressure.left(1, 1.0)
    assert pressure.wait(200) == pytest.approx(2), "one alone takes as long as a hundred"
    for _ in range(10):  # ten times as fast now
        pressure.left(100, 0.1)
    assert pressure.wait(1_000) == pytest.approx(1, rel=0.05)


def test_it_grows_while_nothing_leaves_and_not_while_nothing_waits() -> None:
    clock = ManualClock(Instant(0))
    pressure = Pressure(clock)
    pressure.begins()
    clock.advance(1)
    pressure.left(100, 1.0)
    clock.advance(3_600)
    pressure.begins()
    assert pressure.wait(100) == pytest.approx(1)
    clock.advance(9)
    assert pressure.wait(100) == pytest.approx(10)


def test_an_outage_that_has_passed_is_forgotten_by_small_commits_too() -> None:
    clock = ManualClock(Instant(0))
    pressure = Pressure(clock)
    pressure.begins()
    pressure.left(150, 12.0)
    assert pressure.wait(90) > 5
    for _ in range(3):
        pressure.left(60, 0.02)
    assert pressure.wait(90) < 5
