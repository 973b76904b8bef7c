"""One timer for many tasks: each has its own time, and a cancellation by another stays one."""

from __future__ import annotations

import asyncio

import pytest

from pik.gateway.deadlines import Deadlines
from simulation.virtual_loop import run


async def within(deadlines: Deadlines, seconds: float) -> str:
    """What became of work that takes so long."""
    task = asyncio.current_task()
    assert task is not None
    deadlines.begin(task)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not deadlines.end(task):
            raise
        await asyncio.sleep(1)  # it is cancelled no more
        return "late"
    finally:
        deadlines.end(task)
    return "done"


def test_each_has_its_own_time() -> None:
    async def main() -> None:
        deadlines = Deadlines(10)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def at(start: float, seconds: float) -> tuple[str, float]:
            await asyncio.sleep(start)
            found = await within(deadlines, seconds)
            return found, loop.time() - began

        found = await asyncio.gather(at(0, 9), at(3, 30), at(4, 1), at(6, 30), at(40, 30))
        assert found == [("done", 9), ("late", 14), ("done", 5), ("late", 17), ("late", 51)]

    run(main())


def test_a_cancellation_by_another_is_none_of_its_own() -> None:
    async def main() -> None:
        deadlines = Deadlines(10)
        task = asyncio.create_task(within(deadlines, 30))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await within(deadlines, 11) == "late"

    run(main())


def test_a_cancellation_in_the_same_turn_is_not_swallowed() -> None:
    async def main() -> None:
        task = asyncio.create_task(within(Deadlines(10), 30))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(10, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
