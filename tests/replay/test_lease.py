"""A lease is kept while something takes longer than it lasts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pik.domain.errors import LeaseLost
from pik.execution.replay.lease import Lease
from pik.memory.index import MemoryIndex
from reading.streams import world

SECONDS = 0.03


async def test_work_that_outlasts_the_lease_renews_it(tmp_path: Path) -> None:
    made = await world(tmp_path)
    renewed: list[str] = []

    async def before(call: str) -> None:
        renewed.append(call)

    lease = Lease(replace(made.stream, index=MemoryIndex(made.table, before)), "l", "me", SECONDS)
    await lease.take()

    async def work() -> str:
        while len(renewed) < 4:
            made.clock.advance(SECONDS)
            await asyncio.sleep(0)
        return "done"

    assert await lease.during(work()) == "done"


async def test_work_ends_when_another_has_the_lease(tmp_path: Path) -> None:
    made = await world(tmp_path)
    lease = Lease(made.stream, "l", "me", SECONDS)
    await lease.take()
    made.clock.advance(2 * SECONDS)
    await Lease(made.stream, "l", "another", 60.0).take()
    working = asyncio.ensure_future(asyncio.Event().wait())

    async def work() -> None:
        await working

    with pytest.raises(LeaseLost):
        await lease.during(work())
    assert working.cancelled()
