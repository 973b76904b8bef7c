"""A stream with events and an operator that has its work done by Jobs: what a test does with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pik.cluster.api import Object
from pik.cluster.paths import events, jobs, pods
from running.scene import Ground, Scene, scene, until
from running.specs import job_spec, stream_spec

COUNT = 120
SLOW = {"eventsPerSecond": 8}
CHUNK = 40  # events, of five seconds


@dataclass
class Stage:
    """`queue`: where its replays send to."""

    scene: Scene
    queue: str

    async def replay(self, name: str = "job", labels: Object | None = None, **spec: Any) -> None:
        wanted = {**job_spec("things", self.queue), **spec}
        await self.scene.create("ReplayJob", name, wanted, labels=labels or {})

    async def jobs(self) -> list[Object]:
        return list((await self.scene.api.get(jobs(self.scene.namespace)))["items"])

    async def job(self) -> Object:
        """The only one, once it is there."""
        await until("a Job is there", self._has_job)
        (found,) = await self.jobs()
        return found

    async def _has_job(self) -> bool:
        return len(await self.jobs()) == 1

    async def pods(self) -> list[Object]:
        return list((await self.scene.api.get(pods(self.scene.namespace)))["items"])

    async def patch(self, job: Object, spec: Object) -> None:
        path = f"{jobs(self.scene.namespace)}/{job['metadata']['name']}"
        await self.scene.api.patch(path, {"spec": spec})

    async def status(self, name: str = "job", kind: str = "ReplayJob") -> Object:
        found: Object = (await self.scene.get(kind, name)).get("status", {})
        return found

    async def until_reason(
        self, reason: str, name: str = "job", kind: str = "ReplayJob", condition: str = "Complete"
    ) -> str:
        """The condition's message, once it has this reason."""
        status: Object = {}
        there: list[Object] = []

        def told() -> Object:
            return next((one for one in status.get("conditions", []) if one["type"] == condition), {})

        async def holds() -> bool:
            nonlocal status, there
            status = await self.status(name, kind)
            there = [one["status"] for one in await self.pods()]
            return bool(told().get("reason") == reason)

        await until(f"{name} is {reason}", holds, lambda: f"{status}; its pods: {there}")
        return str(told()["message"])

    async def until_sent(self, least: int) -> None:
        async def holds() -> bool:
            sent: int = (await self.status()).get("progress", {}).get("sent", 0)
            return sent >= least

        await until(f"{least} are sent", holds)

    def received(self) -> list[str]:
        """Stable keys of what the queue has got."""
        return [key for _, key in self.scene.received(self.queue)]

    async def told(self, reason: str) -> list[str]:
        """Messages of the events with this reason."""
        found = (await self.scene.api.get(events(self.scene.namespace)))["items"]
        return [one["message"] for one in found if one["reason"] == reason]

    def has_none(self) -> Callable[[], Awaitable[bool]]:
        async def holds() -> bool:
            return await self.jobs() == [] and await self.pods() == []

        return holds

    def has_no_pods(self) -> Callable[[], Awaitable[bool]]:
        async def holds() -> bool:
            return await self.pods() == []

        return holds


@asynccontextmanager
async def stage(ground: Ground, namespace: str, scratch: Path, image: str) -> AsyncIterator[Stage]:
    """In a new namespace, under the restricted Pod Security Standard."""
    async with scene(ground, namespace, scratch, "--executor", "Jobs", "--image", image) as made:
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        await made.api.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": restricted}})
        await made.operator().start()
        await made.create("CaptureStream", "things", stream_spec("things"))
        await made.ingest("things", COUNT)
        yield Stage(made, made.queue("sent"))
