"""What is there, and every change of it, also when the API server forgets or goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from kube.fake_api import FakeApi
from pik.cluster.api import Object
from pik.cluster.errors import KubeUnavailable
from pik.cluster.informer import Informer
from pik.domain.instants import parse_instant
from pik.memory.system import ManualClock, SeededEntropy

PATH = "/api/things"


class Known:
    """An onlooker with a memory."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lists = 0

    def listed(self, objects: Sequence[Object]) -> None:
        self.lists += 1
        self.names = {one["metadata"]["name"] for one in objects}

    def seen(self, given: Object) -> None:
        self.names.add(given["metadata"]["name"])

    def gone(self, given: Object) -> None:
        self.names.discard(given["metadata"]["name"])


class Scene:
    def __init__(self) -> None:
        self.api, self.known = FakeApi(), Known()
        clock = ManualClock(parse_instant("2026-03-01T12:00:00Z"))
        self.informer = Informer(self.api, PATH, self.known, clock=clock, entropy=SeededEntropy(1))

    async def __aenter__(self) -> Scene:
        self.task = asyncio.ensure_future(self.informer.run())
        await self.informer.synced.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def make(self, name: str) -> None:
        await self.api.create(PATH, {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": name}})

    async def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(1_000):
            if holds():
                return
            await asyncio.sleep(0)
        raise AssertionError(f"never: {self.known.names}")


async def test_lists_are_paged_and_changes_follow() -> None:
    scene = Scene()
    for number in range(1_201):
        scene.api.put(f"{PATH}/n{number}", {"metadata": {"name": f"n{number}"}})
    async with scene:
        assert len(scene.known.names) == 1_201
        await scene.make("new")
        await scene.api.delete(f"{PATH}/n7")
        await scene.until(lambda: "new" in scene.known.names and "n7" not in scene.known.names)
        assert scene.known.lists == 1


async def test_what_was_forgotten_is_listed_again() -> None:
    async with Scene() as scene:
        await scene.make("first")
        await scene.until(lambda: scene.known.names == {"first"})
        del scene.api.objects[f"{PATH}/first"]  # its deletion is never told
        scene.api.put(f"{PATH}/second", {"metadata": {"name": "second"}})
        scene.api.oldest = scene.api.version
        broken = iter([KubeUnavailable("gone away")])
        scene.api.fault = lambda call: next(broken, None) if call.startswith("WATCHING") else None
        scene.api.wake()
        await scene.until(lambda: scene.known.names == {"second"})
        assert scene.known.lists == 2


async def test_an_api_server_that_was_away_is_watched_from_where_it_was() -> None:
    async with Scene() as scene:
        scene.api.fault = lambda call: KubeUnavailable("away") if call.startswith("WATCH") else None
        scene.api.wake()
        await scene.until(lambda: scene.informer.restarts > 3)
        scene.api.fault = lambda _: None
        await scene.make("late")
        await scene.until(lambda: scene.known.names == {"late"})
        assert scene.known.lists == 1
