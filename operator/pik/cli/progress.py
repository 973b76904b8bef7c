"""Progress bars on stderr, where that is a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, int], None]
"""Called with what is done and what there is, 0 where that is not known."""


@contextmanager
def progress(title: str, unit: str) -> Iterator[Advance]:
    if not (sys.stderr.isatty() or os.environ.get("FORCE_COLOR")):
        yield lambda done, total: None  # noqa: ARG005
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=None, amount="")

        def advance(done: int, total: int) -> None:
            amount = f"{done:,}/{total:,} {unit}" if total else f"{done:,} {unit}"
            bar.update(task, completed=done, total=total or None, amount=amount)

        yield advance
