"""Tables and text within the width of a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # rich takes a while to import, and `-o json` needs none of it
    from rich.console import Console, RenderableType

_PIPED = 120
_NARROWEST = 40
_LEAST = 16  # of a column that is folded
_GAP = 2
_INDENT = 2


class Cells(NamedTuple):
    """A column of texts. `folds`: may be broken into lines; a number may not."""

    title: str
    texts: Sequence[str]
    folds: bool
    right: bool


def width() -> int:
    """That of the terminal; COLUMNS where it is set; 120 where nobody says."""
    return max(_NARROWEST, shutil.get_terminal_size((_PIPED, 1)).columns)


def say(text: str, style: str = "") -> None:
    """Prints sentences, broken between words."""
    from rich.text import Text

    _print(Text(text, style))


def title(text: str) -> None:
    say(f"\n{text}", "bold")


def indented(text: str) -> None:
    """Prints a line of a block, broken within it."""
    from rich.padding import Padding
    from rich.text import Text

    _print(Padding(Text(text, overflow="fold"), (0, 0, 0, _INDENT), expand=False))


def fields(rows: Sequence[tuple[str, str]]) -> None:
    """Prints names and what they stand for, each broken within its column."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(name), Text(value))
    _print(Padding(grid, (0, 0, 0, _INDENT), expand=False))


def table(columns: Sequence[Cells], within: int | None = None) -> list[str]:
    """Prints columns beside each other, `within` so many cells; None: as wide as they are. Returns the
    titles of those for which there was no room."""
    from rich.table import Table
    from rich.text import Text

    shown, left_out = list(columns), list[str]()
    while within is not None and len(shown) > 1 and sum(map(_least, shown)) + _gaps(shown) > within:
        left_out.insert(0, shown.pop().title)
    widths = _widths(shown, within)
    drawn = Table(
        box=None, pad_edge=False, padding=(0, _GAP, 0, 0), collapse_padding=True, header_style="bold"
    )
    for column, cells in zip(shown, widths, strict=True):
        title = Text(column.title.upper())
        drawn.add_column(title, justify="right" if column.right else "left", width=cells, overflow="fold")
    for row in zip(*(column.texts for column in shown), strict=True):
        drawn.add_row(*map(Text, row))
    _print(drawn, sum(widths) + _gaps(shown) + _GAP)
    return left_out


def _widths(columns: Sequence[Cells], within: int | None) -> list[int]:
    widths = [_widest(column) for column in columns]
    room = sum(widths) if within is None else within - _gaps(columns)
    least = [min(_least(column), room) for column in columns]
    while sum(widths) > room:
        excess, place = max((widths[n] - least[n] > 0, widths[n], n) for n in range(len(widths)))[::2]
        if not excess:
            break
        widths[place] -= 1
    return widths


def _widest(column: Cells) -> int:
    from rich.cells import cell_len

    return max(cell_len(text) for text in (column.title, *column.texts))


def _least(column: Cells) -> int:
    from rich.cells import cell_len

    if column.folds:
        return min(_LEAST, _widest(column))
    return max(cell_len(text) for text in (*column.title.split(), *column.texts))


def _gaps(columns: Sequence[Cells]) -> int:
    return _GAP * (len(columns) - 1)


def _print(what: RenderableType, cells: int | None = None) -> None:
    console = _console(max(cells or 0, width()))
    with console.capture() as captured:
        console.print(what)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def _console(cells: int) -> Console:
    from rich.console import Console

    return Console(width=cells, highlight=False, markup=False, emoji=False)
