"""What was measured, as a table for a person, JSON for later, and a chart for the docs."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

from measuring.turns import Samples, ratio

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Figure:
    """A ratio of two sides. `bound` and `sense`: what is to be reached, at least or at most; None: it is only
    told."""

    what: str
    side: str
    other: str
    value: float
    sense: Literal["≥", "≤"] = "≥"
    bound: float | None = None

    @property
    def holds(self) -> bool:
        if self.bound is None:
            return True
        return self.value >= self.bound if self.sense == "≥" else self.value <= self.bound


def figure(
    what: str,
    samples: Samples,
    side: str,
    other: str,
    sense: Literal["≥", "≤"] = "≥",
    bound: float | None = None,
) -> Figure:
    return Figure(what, side, other, ratio(samples, side, other), sense, bound)


def report(name: str, unit: str, samples: Samples, figures: Sequence[Figure], **more: object) -> bool:
    """Prints the tables and keeps `results/<name>.json`. Whether all that was to be reached was."""
    console = Console(width=110)
    raw = Table(title=f"{name}: {unit}", title_justify="left")
    for heading in ("side", "median", "least", "most", "rounds"):
        raw.add_column(heading, justify="left" if heading == "side" else "right")
    for side, found in samples.items():
        numbers = (median(found), min(found), max(found))
        raw.add_row(
            side,
            *(f"{number:,.3f}" if number < 10 else f"{number:,.0f}" for number in numbers),
            str(len(found)),
        )
    console.print(raw)
    ratios = Table(title="ratios", title_justify="left")
    for heading in ("what", "side ÷ other", "ratio", "to reach", ""):
        ratios.add_column(heading, justify="right" if heading in ("ratio", "to reach") else "left")
    for each in figures:
        wanted = "" if each.bound is None else f"{each.sense} {each.bound:g}"
        mark = "" if each.bound is None else "✓" if each.holds else "✗ not reached"
        ratios.add_row(each.what, f"{each.side} ÷ {each.other}", f"{each.value:,.2f}", wanted, mark)
    console.print(ratios)
    for key, value in more.items():
        console.print(f"{key}: {value}")
    RESULTS.mkdir(exist_ok=True)
    kept = {
        "name": name,
        "unit": unit,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "samples": samples,
        "figures": [{**asdict(each), "holds": each.holds} for each in figures],
        "more": more,
    }
    text = msgspec.json.format(msgspec.json.encode(kept), indent=1)
    (RESULTS / f"{name}.json").write_bytes(text + b"\n")
    return all(each.holds for each in figures)
