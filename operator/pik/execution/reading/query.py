"""Questions to a snapshot in DuckDB, off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import duckdb

from pik.execution.reading.files import local_files
from pik.execution.reading.relation import connect, open_arrivals, open_events
from pik.execution.reading.snapshot import Snapshot
from pik.execution.stream import Deduplication, Stream

T = TypeVar("T")


async def query(
    stream: Stream,
    snapshot: Snapshot,
    work: Callable[[duckdb.DuckDBPyConnection], T],
    memory: str | None = None,
) -> T:
    """What `work` makes of a locked connection with the views `arrivals` and `events` of the snapshot; the
    connection ends with it. `memory` as in `relation.connect`.

    Raises `Tampered` and `Incomplete`, naming the object.
    """
    files = await local_files(stream, snapshot)
    return await stream.offload(_ask, files, stream.deduplication, work, memory)


def _ask(
    files: list[Path],
    deduplication: Deduplication,
    work: Callable[[duckdb.DuckDBPyConnection], T],
    memory: str | None,
) -> T:
    with closing(connect(memory)) as con:
        open_arrivals(con, files)
        open_events(con, deduplication)
        return work(con)
