"""Writes what was measured into docs/performance.md, with its chart, and into the pages of the functions:
`python benchmarks/page.py`.

It reads `results/*.json`, which the other scripts keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import msgspec
from measuring.report import RESULTS

mpl.use("svg")
from matplotlib import pyplot

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
CHART = PAGE.parent / "images" / "performance.svg"
_REGION = re.compile(r"(<!-- measured -->\n).*?(<!-- end -->)", re.DOTALL)


def figures() -> Iterator[dict[str, Any]]:
    for path in sorted(RESULTS.glob("*.json")):
        yield from msgspec.json.decode(path.read_bytes())["figures"]


def table(found: Sequence[dict[str, Any]]) -> str:
    rows = ["| what | measured as | to reach | reached |", "|---|---|---|---|"]
    for each in found:
        bound = "" if each["bound"] is None else f"{each['sense']} {each['bound']:g}"
        mark = "" if each["holds"] else " (not reached)"
        rows.append(
            f"| {each['what']} | {each['side']} ÷ {each['other']} | {bound} | {each['value']:,.2f}{mark} |"
        )
    return "\n".join(rows) + "\n"


def function_table(measured: dict[str, Any], ratio: float) -> str:
    """Of one function, as `functions_start.py` has it."""
    rows = [
        ("CPU until the first answer", f"{measured['start_cpu_seconds']:.1f} s"),
        ("first invocation ÷ the same package with nothing loaded", f"{ratio:.1f}"),
        ("an invocation later on that does nothing", f"{measured['warm_milliseconds']:.0f} ms"),
        ("the work below", f"{measured['work_seconds']:.1f} s"),
        ("memory at most, after the start", f"{measured['start_peak_mib']} MiB"),
        ("memory at most, after that work", f"{measured['work_peak_mib']} MiB"),
    ]
    return "".join(["| what | took |\n", "|---|---|\n", *(f"| {what} | {took} |\n" for what, took in rows)])


def function_pages() -> Iterator[tuple[Path, str]]:
    """Each page, as it is to be."""
    kept = msgspec.json.decode((RESULTS / "functions.json").read_bytes())
    ratios = {each["side"]: each["value"] for each in kept["figures"]}
    for name, measured in kept["more"].items():
        page = PAGE.parent / "functions" / f"{name}.md"
        made = function_table(measured, ratios[name])
        yield page, _REGION.sub(lambda m, made=made: f"{m[1]}{made}{m[2]}", page.read_text())


def draw(found: Sequence[dict[str, Any]]) -> None:
    """How much of what is to be reached is: 1 is all of it, on a logarithmic axis."""
    bounded = [each for each in found if each["bound"] and each["value"]]  # no axis of logarithms has a zero
    parts = [
        each["value"] / each["bound"] if each["sense"] == "≥" else each["bound"] / each["value"]
        for each in bounded
    ]
    figure, axes = pyplot.subplots(figsize=(8, 0.45 * len(bounded) + 1.2))
    names = [f"{each['what']}: {each['side']}\n÷ {each['other']}" for each in bounded]
    places = range(len(bounded))  # and not names: bars of the same name would hide each other
    colors = ["#3a7d44" if part >= 1 else "#b5483a" for part in parts]
    axes.barh(places, parts, color=colors, left=0)
    axes.set_yticks(places, names)
    axes.margins(y=0.01)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("reached ÷ to reach")
    axes.tick_params(axis="y", labelsize=7)
    axes.invert_yaxis()
    figure.tight_layout()
    CHART.parent.mkdir(exist_ok=True)
    figure.savefig(CHART, metadata={"Date": None})


def main() -> None:
    found = list(figures())
    text = PAGE.read_text()
    PAGE.write_text(_REGION.sub(lambda m: f"{m[1]}{table(found)}{m[2]}", text))
    draw(found)
    for page, text in function_pages():
        page.write_text(text)


if __name__ == "__main__":
    main()
