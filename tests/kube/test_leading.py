"""One leads; another takes over when the first is silent, and not before."""

from __future__ import annotations

import asyncio

import pytest

from kube.fake_api import FakeApi
from pik.cluster.errors import KubeUnavailable
from pik.cluster.leading import Leadership, LeadershipLost, LeaseTiming
from pik.domain.instants import parse_instant
from pik.memory.system import ManualClock

START = parse_instant("2026-03-01T12:00:00Z")
TIMING = LeaseTiming(lasts=12, renewed=2, given_up=8)


def replica(api: FakeApi, name: str, clock: ManualClock) -> Leadership:
    return Leadership(api, "pik", "operator", name, clock, TIMING)


def lease(api: FakeApi) -> dict[str, object]:
    spec: dict[str, object] = api.objects["/apis/coordination.k8s.io/v1/namespaces/pik/leases/operator"][
        "spec"
    ]
    return spec


async def test_the_first_leads_and_the_second_waits() -> None:
    api, clock = FakeApi(), ManualClock(START)
    first, second = replica(api, "first", clock), replica(api, "second", clock)
    await first.acquire()
    waiting = asyncio.ensure_future(second.acquire())
    keeping = asyncio.ensure_future(first.keep())
    for _ in range(500):
        await asyncio.sleep(0)
    assert (first.leads, second.leads) == (True, False)
    assert clock.now().micros - START.micros > 60_000_000
    assert lease(api)["holderIdentity"] == "first"
    waiting.cancel()
    keeping.cancel()


async def test_a_silent_holder_is_followed_within_15_seconds_and_not_while_its_lease_lasts() -> None:
    api, clock = FakeApi(), ManualClock(START)
    await replica(api, "first", clock).acquire()
    await replica(api, "second", clock).acquire()
    seconds = (clock.now().micros - START.micros) / 1_000_000
    assert TIMING.lasts < seconds <= 15
    assert lease(api)["leaseTransitions"] == 1


async def test_a_lease_that_was_given_back_is_taken_at_once() -> None:
    api, clock = FakeApi(), ManualClock(START)
    first = replica(api, "first", clock)
    await first.acquire()
    await first.release()
    await replica(api, "second", clock).acquire()
    assert (clock.now().micros - START.micros) / 1_000_000 <= TIMING.renewed


async def test_a_holder_that_finds_another_stops() -> None:
    api, clock = FakeApi(), ManualClock(START)
    first = replica(api, "first", clock)
    await first.acquire()
    await replica(api, "second", clock).acquire()  # the first was silent meanwhile
    with pytest.raises(LeadershipLost, match="second leads now"):
        await first.keep()
    assert not first.leads


async def test_a_holder_that_cannot_renew_stops_before_another_may_begin() -> None:
    api, clock = FakeApi(), ManualClock(START)
    first = replica(api, "first", clock)
    await first.acquire()
    api.fault = lambda _: KubeUnavailable("away")
    with pytest.raises(LeadershipLost, match="could not be renewed"):
        await first.keep()
    assert (clock.now().micros - START.micros) / 1_000_000 < TIMING.lasts


async def test_of_two_that_are_there_at_once_one_leads() -> None:
    api, clock = FakeApi(), ManualClock(START)
    replicas = [replica(api, name, clock) for name in ("a", "b", "c")]
    tasks = [asyncio.ensure_future(each.acquire()) for each in replicas]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert sum(each.leads for each in replicas) == 1
    for task in tasks:
        task.cancel()


async def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    """Else the holder would notice that it has lost its lease when another has long begun."""
    api, clock = FakeApi(), ManualClock(START)
    first = Leadership(
        api, "pik", "operator", "first", clock, LeaseTiming(lasts=12, renewed=0.01, given_up=0.05)
    )
    await first.acquire()

    async def never(path: str, **_: str) -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    api.get = never  # type: ignore[method-assign]
    clock.advance(0.05)
    with pytest.raises(LeadershipLost, match="could not be renewed"):
        await first.keep()
