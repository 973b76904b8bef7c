"""The work queue: each key once, one worker a key, and in time."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pik.controller.objects import ObjectKey
from pik.controller.queue import WorkQueue
from pik.domain.instants import Instant
from pik.memory.system import ManualClock

A, B, C = (ObjectKey("Kind", "default", name) for name in "abc")


def queue() -> tuple[WorkQueue, ManualClock]:
    clock = ManualClock(Instant(0))
    return WorkQueue(clock), clock


async def test_a_key_is_handed_out_once_however_often_it_was_added() -> None:
    work, _ = queue()
    for _ in range(3):
        work.add(A)
    work.add(B)
    assert [await work.take(), await work.take()] == [A, B]
    assert not work.has_due()


async def test_a_key_that_is_added_while_it_is_worked_on_comes_again_afterwards() -> None:
    work, _ = queue()
    work.add(A)
    assert await work.take() == A
    work.add(A)
    assert not work.has_due()  # one worker a key
    assert work.is_busy(A)
    work.done(A)
    assert await work.take() == A
    work.done(A)
    assert not work.is_busy(A)


async def test_of_several_times_the_earliest_counts() -> None:
    work, clock = queue()
    work.add_after(A, 10)
    work.add_after(A, 5)
    work.add_after(A, 20)
    clock.advance(4.9)
    assert not work.has_due()
    clock.advance(0.1)
    assert work.has_due()
    assert await work.take() == A
    work.done(A)
    clock.advance(100)
    assert not work.has_due()


async def test_what_is_due_now_is_not_put_off() -> None:
    work, _ = queue()
    work.add(A)
    work.add_after(A, 5)
    assert await work.take() == A
    work.done(A)
    assert not work.is_busy(A)


async def test_an_addition_makes_a_later_time_void() -> None:
    work, clock = queue()
    work.add_after(A, 5)
    work.add(A)
    assert await work.take() == A
    work.done(A)
    clock.advance(6)
    assert not work.has_due()


async def test_a_worker_that_waits_is_woken_by_time_and_by_additions() -> None:
    work, _ = queue()
    taken = [asyncio.create_task(work.take()) for _ in range(2)]
    await asyncio.sleep(0)
    work.add_after(A, 3)
    work.add(B)
    assert {await task for task in taken} == {A, B}


async def test_a_timer_is_not_lost_when_the_worker_that_watched_it_got_something_else() -> None:
    work, _ = queue()
    one, other = asyncio.create_task(work.take()), asyncio.create_task(work.take())
    await asyncio.sleep(0)
    work.add(A)  # one of the two takes it, and stays with it
    await asyncio.sleep(0)
    work.add_after(B, 1)
    async with asyncio.timeout(5):
        assert {await one, await other} == {A, B}


async def test_forgotten_keys_do_not_come() -> None:
    work, clock = queue()
    work.add(A)
    work.add_after(B, 1)
    work.forget(A)
    work.forget(B)
    clock.advance(2)
    assert not work.has_due()


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "done"]), st.sampled_from([A, B, C]))))
def test_nothing_that_was_added_is_lost(steps: list[tuple[str, ObjectKey]]) -> None:
    """Whatever the order of additions and of work: an addition is followed by a hand-out of its key that
    began after it."""

    async def run() -> None:
        work, _ = queue()
        wanted: set[ObjectKey] = set()
        held: list[ObjectKey] = []
        for step, key in steps:
            if step == "add":
                work.add(key)
                wanted.add(key)
            elif step == "take" and work.has_due():
                taken = await work.take()
                assert taken not in held
                held.append(taken)
                wanted.discard(taken)
            elif step == "done" and key in held:
                held.remove(key)
                work.done(key)
        for key in held:
            work.done(key)
        while work.has_due():
            taken = await work.take()
            wanted.discard(taken)
            work.done(taken)
        assert not wanted

    asyncio.run(run())


async def test_depth_wait_and_the_longest_at_work_are_told() -> None:
    waits: list[float] = []
    added = 0

    class Heard:
        def added(self) -> None:
            nonlocal added
            added += 1

        def taken(self, waited: float) -> None:
            waits.append(waited)

    clock = ManualClock(Instant(0))
    work = WorkQueue(clock, Heard())
    for key in (A, A, B):
        work.add(key)
    work.add_after(C, 2)
    assert (added, work.depth(), work.running(), work.longest_running()) == (2, 2, 0, 0.0)
    clock.advance(3)
    assert (work.depth(), added) == (3, 3)
    await work.take()
    clock.advance(4)
    await work.take()
    assert waits == [3.0, 7.0]
    assert (work.depth(), work.running(), work.longest_running()) == (1, 2, 4.0)
    work.add(A)  # it is at work: it comes to be due when that has ended
    assert added == 3
    work.done(A)
    assert added == 4
    assert work.longest_running() == 0.0
