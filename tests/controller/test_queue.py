"""The work queue: each key once, one worker a key, and in time."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pik.controller.objects import ObjectKey
from pik.controller.queue import Spacing, WorkQueue
from pik.domain.instants import Instant
from pik.memory.system import ManualClock

A, B, C = (ObjectKey("Kind", "default", name) for name in "abc")


def queue() -> tuple[WorkQueue, ManualClock]:
    clock = ManualClock(Instant(0))
    return WorkQueue(clock), clock


class StandingClock(ManualClock):
    """Its sleepers sleep until somebody else makes the time pass."""

    async def sleep(self, seconds: float) -> None:
        wake = self.now().micros + round(seconds * 1e6)
        while self.now().micros < wake:  # noqa: ASYNC110 - the test's `advance` is the event
            await asyncio.sleep(0)


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


async def test_whoever_leaves_hands_the_watch_of_the_time_on() -> None:
    clock = StandingClock(Instant(0))
    work = WorkQueue(clock)
    work.add_after(B, 1)
    tasks = [asyncio.create_task(work.take()) for _ in range(2)]  # the first minds the time
    await asyncio.sleep(0)
    work.add(A)
    async with asyncio.timeout(5):
        while not any(task.done() for task in tasks):  # noqa: ASYNC110 - the task is the event
            await asyncio.sleep(0)
        clock.advance(1)
        assert {await task for task in tasks} == {A, B}


async def test_forgotten_keys_do_not_come() -> None:
    work, clock = queue()
    work.add(A)
    work.add_after(B, 1)
    work.forget(A)
    work.forget(B)
    clock.advance(2)
    assert not work.has_due()


KEYS = st.sampled_from([A, B, C])
STEPS = st.one_of(
    st.tuples(st.just("add"), KEYS, st.just(0.0)),
    st.tuples(st.just("add_after"), KEYS, st.floats(0, 5)),
    st.tuples(st.just("take"), st.just(A), st.just(0.0)),
    st.tuples(st.just("done"), KEYS, st.just(0.0)),
    st.tuples(st.just("pass"), st.just(A), st.floats(0, 3)),
)


@given(st.lists(STEPS, max_size=60), st.integers(1, 4), st.sampled_from([0.5, 1.0, 4.0]))
def test_nothing_is_lost_and_nothing_comes_too_often(
    steps: list[tuple[str, ObjectKey, float]], burst: int, seconds: float
) -> None:
    """Whatever the order of additions, of work and of time: an addition is followed by a hand-out of its key
    that began after it and not before its time; a key has one worker; and in no stretch of time is it handed
    out more often than its spacing says."""

    async def run() -> None:
        clock = ManualClock(Instant(0))
        work = WorkQueue(clock, spacing=Spacing(burst, seconds))
        wanted: dict[ObjectKey, float] = {}  # when each is due
        held: list[ObjectKey] = []
        taken: list[tuple[float, ObjectKey]] = []

        def now() -> float:
            return clock.now().micros / 1e6

        async def take() -> None:
            key = await work.take()
            assert key not in held
            assert wanted.pop(key) <= now() + 1e-5
            held.append(key)
            taken.append((now(), key))

        for step, key, number in steps:
            if step == "add":
                work.add(key)
                wanted[key] = min(now(), wanted.get(key, now()))
            elif step == "add_after":
                work.add_after(key, number)
                wanted[key] = min(now() + number, wanted.get(key, now() + number))
            elif step == "take" and work.has_due():
                await take()
            elif step == "done" and key in held:
                held.remove(key)
                work.done(key)
            elif step == "pass":
                clock.advance(number)
        for _ in range(200):
            while held:
                work.done(held.pop())
            while work.has_due():
                await take()
            clock.advance(0.5)
        assert not wanted
        for key in (A, B, C):
            times = [at for at, one in taken if one == key]
            for first, since in enumerate(times):
                for last in range(first + burst, len(times)):
                    assert times[last] - since >= (last - first - burst + 1) * seconds - 1e-5

    asyncio.run(run())


@given(
    st.integers(1, 4),
    st.lists(
        st.tuples(st.sampled_from(["add", "add_after", "pass", "cancel"]), st.integers(0, 8)), max_size=40
    ),
)
def test_workers_that_wait_get_what_is_due_when_it_is_due(workers: int, steps: list[tuple[str, int]]) -> None:
    """Whoever of them is at work, or is cancelled while it waits."""

    async def run() -> None:
        clock = StandingClock(Instant(0))
        work = WorkQueue(clock, spacing=Spacing(burst=1_000))
        wanted: dict[ObjectKey, float] = {}
        stays = asyncio.Event()  # what was taken stays with its worker until then

        async def worker() -> None:
            while True:
                key = await work.take()
                assert wanted.pop(key) <= clock.now().micros
                if key.name == "0":
                    await stays.wait()
                work.done(key)

        async def rest() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        spare = [asyncio.create_task(worker()) for step, _ in steps if step == "cancel"]
        tasks = [asyncio.create_task(worker()) for _ in range(workers + 1)]
        await rest()
        for number, (step, parameter) in enumerate(steps):
            key = ObjectKey("Kind", "default", str(number))
            if step == "add":
                work.add(key)
                wanted[key] = clock.now().micros
            elif step == "add_after":
                work.add_after(key, parameter)
                wanted[key] = clock.now().micros + parameter * 1e6
            elif step == "cancel":
                spare.pop(0).cancel()
            else:
                clock.advance(parameter)
            if step != "cancel" and parameter % 3:
                await rest()
                assert all(at > clock.now().micros for at in wanted.values())
        await rest()
        assert all(at > clock.now().micros for at in wanted.values())
        for _ in range(9):
            clock.advance(1)
            await rest()
            assert all(at > clock.now().micros for at in wanted.values())
        assert not wanted
        stays.set()
        for task in [*tasks, *spare]:
            task.cancel()
        await asyncio.gather(*tasks, *spare, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)

    asyncio.run(run())


async def test_a_time_that_was_put_off_does_not_come() -> None:
    work, clock = queue()
    work.add_after(A, 5)
    work.add(A)
    work.done(await work.take())
    work.add_after(A, 20)
    clock.advance(6)
    assert not work.has_due()
    clock.advance(14)
    assert work.has_due()


async def test_a_storm_on_one_key_does_not_starve_the_others() -> None:
    """One key is added before every hand-out; a thousand others are added once. Each of these is handed out
    as soon as without the storm, but for the burst that the one is granted."""
    work, clock = queue()
    others = [ObjectKey("Kind", "default", f"o{number}") for number in range(1_000)]
    for key in others:
        work.add(key)
    order: list[ObjectKey] = []
    while len(order) < 1_100:
        work.add(A)
        if not work.has_due():
            clock.advance(0.5)
            continue
        key = await work.take()
        order.append(key)
        work.add(A)
        clock.advance(0.01)  # a pass
        work.done(key)
    stormed = [place for place, key in enumerate(order) if key == A]
    elsewhere = [key for key in order if key != A]
    assert elsewhere == others
    assert order.index(others[-1]) < 1_000 + 10 + 11  # the burst, and one for each second of the passes
    assert stormed  # and what stormed is not forgotten
    assert order[-1] == A


async def test_what_waits_for_its_turn_is_busy_and_can_be_forgotten() -> None:
    clock = ManualClock(Instant(0))
    work = WorkQueue(clock, spacing=Spacing(burst=1, seconds=5))
    work.add(A)
    work.done(await work.take())
    work.add(A)
    assert not work.has_due()
    assert work.is_busy(A)
    work.add_after(A, 60)  # a later time puts it off no further
    clock.advance(5)
    assert work.has_due()
    work.done(await work.take())
    work.add(A)
    work.forget(A)
    assert not work.is_busy(A)
    clock.advance(100)
    assert not work.has_due()
    work.add(A)
    assert work.has_due()


async def test_ten_thousand_keys_cost_what_ten_thousand_keys_cost() -> None:
    """Times that have become void are cleared away, and so is what is known of keys that were handed out."""
    work, clock = queue()
    keys = [ObjectKey("Kind", "default", f"k{number}") for number in range(10_000)]
    for seconds in (600.0, 60.0, 6.0):
        for key in keys:
            work.add_after(key, seconds)
    assert len(work._times) <= 2 * len(keys) + 100
    clock.advance(7)
    for _ in keys:
        work.done(await work.take())
    assert not work.has_due()
    for number in range(30_000):
        clock.advance(0.1)
        work.add(ObjectKey("Kind", "default", f"n{number}"))
        work.done(await work.take())
    assert len(work._spaced._full) < 1_000


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
