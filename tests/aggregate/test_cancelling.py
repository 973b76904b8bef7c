"""A computation that nobody waits for any more."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aggregate.questions import EVERYTHING, answer
from pik.aws.system import ThreadOffload
from pik.execution.aggregate.duckdb_engine import DuckDBEngine
from pik.execution.aggregate.records import AsOf
from pik.execution.reading.snapshot import pinned_snapshot
from reading.streams import START, arrival, world
from reading.streams import rows as as_rows


async def test_it_ends_as_cancelled_and_not_before_its_thread(tmp_path: Path) -> None:
    """Else its connection and its folder would go while it works."""
    made = await world(tmp_path)
    await made.land(as_rows([arrival("k", data=b'{"x": 1}')]), at=START)
    known: AsOf = (await answer(made, EVERYTHING)).as_of
    snapshot = await pinned_snapshot(made.stream, known.cut_instant)
    pool, begun, ended = ThreadOffload(1), asyncio.Event(), threading.Event()
    released = threading.Event()

    def slowly(work: Any, args: Any) -> Any:
        released.wait(30)
        try:
            return work(*args)
        finally:
            ended.set()

    async def offload(work: Any, *args: Any) -> Any:
        begun.set()
        return await pool(slowly, work, args)

    async def asks() -> None:
        stream = replace(made.stream, offload=offload)
        async with DuckDBEngine(EVERYTHING).answer(stream, known, snapshot):
            pass

    asking = asyncio.create_task(asks())
    await begun.wait()
    asking.cancel()
    asyncio.get_running_loop().call_later(0.2, released.set)
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert ended.is_set()
    pool.close()
