"""Work that outlasts a pass."""

from __future__ import annotations

import asyncio

import pytest

from pik.controller.background import Background, Finished
from pik.controller.objects import ObjectKey

KEY = ObjectKey("Kind", "default", "a")


async def test_a_result_is_handed_out_once_and_the_object_woken() -> None:
    woken: list[ObjectKey] = []
    background = Background(woken.append)
    begun = 0

    async def work() -> str:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0)
        return "done"

    assert background.poll(KEY, "plan", "1", work) is None
    assert background.poll(KEY, "plan", "1", work) is None  # it is under way, and not begun twice
    await until(background)
    assert woken == [KEY]
    assert background.poll(KEY, "plan", "1", work) == Finished("done")
    assert begun == 1
    assert background.poll(KEY, "plan", "1", work) is None
    await until(background)
    assert begun == 2


async def test_an_error_is_raised_once_and_then_it_begins_again() -> None:
    background = Background(lambda _: None)

    async def work() -> str:
        raise ValueError("broken")

    assert background.poll(KEY, "plan", "1", work) is None
    await until(background)
    with pytest.raises(ValueError, match="broken"):
        background.poll(KEY, "plan", "1", work)
    assert background.poll(KEY, "plan", "1", work) is None
    await until(background)


async def test_work_of_an_older_token_is_cancelled_and_its_result_dropped() -> None:
    background = Background(lambda _: None)
    never = asyncio.Event()

    async def old() -> str:
        await never.wait()
        return "old"

    async def new() -> str:
        return "new"

    assert background.poll(KEY, "plan", "1", old) is None
    assert background.poll(KEY, "plan", "2", new) is None
    await until(background)
    assert background.poll(KEY, "plan", "2", new) == Finished("new")


async def test_on_closing_work_may_come_to_a_good_place_and_is_then_cancelled() -> None:
    background = Background(lambda _: None)
    places: list[str] = []

    async def well_behaved() -> None:
        while not background.halting:  # noqa: ASYNC110
            await asyncio.sleep(0)
        places.append("good")

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            places.append("cancelled")
            raise

    background.poll(KEY, "run", "1", well_behaved)
    background.poll(KEY, "plan", "1", stubborn)
    await asyncio.sleep(0)
    await background.close(grace=0.05)
    assert places == ["good", "cancelled"]
    assert background.is_idle()


async def until(background: Background) -> None:
    while not background.is_idle():  # noqa: ASYNC110
        await asyncio.sleep(0)
    await asyncio.sleep(0)
