"""Progress bars on stderr, where that is a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, int], None]
"""Called with what is done and what there is."""

BYTES = "bytes"
"""A unit that is shown in kilobytes, megabytes and so on."""


@contextmanager
def progress(title: str, unit: str) -> Iterator[Advance]:
    if not (sys.stderr.isatty() or os.environ.get("FORCE_COLOR")):
        yield lambda done, total: None  # noqa: ARG005
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    amount: list[ProgressColumn] = [MofNCompleteColumn(), TextColumn(unit)]
    if unit == BYTES:
        amount = [DownloadColumn()]
    bar = Progress(
        TextColumn(title),
        BarColumn(),
        *amount,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
