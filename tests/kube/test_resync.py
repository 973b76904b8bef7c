"""What a watch has missed is made up for, or ends the process."""

from __future__ import annotations

import pytest

from kube.test_objects import KEY, World
from pik.cluster.paths import object_at
from pik.cluster.resync import Resync, WatchBroken
from pik.domain.instants import parse_instant
from pik.memory.system import ManualClock, SeededEntropy


def resync(world: World) -> Resync:
    clock = ManualClock(parse_instant("2026-03-01T12:00:00Z"))
    return Resync(world.api, world.objects, ("default",), clock=clock, entropy=SeededEntropy(1), interval=600)


def kinds_listed(world: World) -> None:
    """The fake lists what it has by path; an object of a list has its kind from the list."""
    real = world.api.get

    async def get(path: str, **query: str) -> dict[str, object]:
        page = await real(path, **query)
        kinds = {"capturestreams": "CaptureStream", "replayjobs": "ReplayJob"}
        return {**page, "kind": kinds.get(path.rpartition("/")[2], "AggregateVersion") + "List"}

    world.api.get = get  # type: ignore[method-assign]


async def test_a_cache_is_filled() -> None:
    world = World()
    kinds_listed(world)
    world.apply()
    await resync(world).fill()
    assert world.objects.keys() == [KEY]


async def test_a_deletion_that_was_missed_is_made_up_for() -> None:
    world = World()
    kinds_listed(world)
    world.objects.seen(world.apply())
    del world.api.objects[object_at(KEY)]
    await resync(world).look()
    assert world.objects.keys() == []
    assert world.changed == [KEY, KEY]


async def test_a_watch_that_delivers_is_left_alone() -> None:
    world = World()
    kinds_listed(world)
    world.objects.seen(world.apply())
    await resync(world).look()


async def test_a_generation_that_never_comes_ends_the_process() -> None:
    world = World()
    kinds_listed(world)
    world.objects.seen(world.apply())
    world.apply(generation=2)
    with pytest.raises(WatchBroken, match="CaptureStream default/things"):
        await resync(world).look()


async def test_a_re_creation_that_never_comes_ends_the_process() -> None:
    """Its generation is lower than that of the object which had its name."""
    world = World()
    kinds_listed(world)
    world.objects.seen(world.apply(uid="one", generation=5))
    world.apply(uid="two", generation=1)
    with pytest.raises(WatchBroken, match="CaptureStream default/things"):
        await resync(world).look()


async def test_a_watch_that_is_ahead_of_a_list_is_left_alone() -> None:
    """An object is made anew while the list is on its way."""
    world = World()
    kinds_listed(world)
    world.objects.seen(world.apply(uid="one"))
    answered = world.api.get

    async def get(path: str, **query: str) -> dict[str, object]:
        page = await answered(path, **query)
        if world.objects.uid(KEY) == "one":
            world.objects.seen(world.apply(uid="two"))
        return page

    world.api.get = get  # type: ignore[method-assign]
    await resync(world).look()
    assert world.objects.uid(KEY) == "two"
