"""Sides of a comparison take turns, so that what else the machine does counts for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

Samples = dict[str, list[float]]


def in_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> Samples:
    """What each side gave, round by round. Every other round goes backwards, so that no side is always the
    one after another."""
    found: Samples = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides) if number % 2 == 0 else reversed(list(sides)):
            found[name].append(sides[name]())
    return found


def ratio(samples: Samples, side: str, other: str) -> float:
    """Of the medians."""
    return median(samples[side]) / median(samples[other])


def best(samples: Samples, kind: str) -> str:
    """Of the sides whose names begin so, the one with the highest median."""
    return max((name for name in samples if name.startswith(kind)), key=lambda name: median(samples[name]))
