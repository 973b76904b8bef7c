"""The operator is killed at random while objects are created, changed and deleted.

python -m running.campaign --kubeconfig FILE --endpoint URL [--kills 50] [--objects 50] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from chart.rendering import Renderer, helm_of
from cluster import handle
from clusters_for_tests import with_crds
from pik.cluster.errors import KubeNotFound
from pik.local import emulator
from running.check import Expected, Outcome, check
from running.process import OperatorProcess
from running.scene import Ground, Never, Scene, scene, until
from running.specs import EVENTS, SOURCES, is_settled, job_spec, stream_spec, version_spec


class Campaign:
    def __init__(self, scene: Scene, operator: OperatorProcess, seed: int) -> None:
        self._scene = scene
        self._operator = operator
        self._random = Random(seed)
        self._expected = Expected()
        self.outcome = Outcome()

    async def run(self, kills: int, objects: int) -> Outcome:
        """Sources first, and their events; then changes under fire; then the count."""
        await self._operator.start()
        for name in SOURCES:
            await self._stream(name, "Retain")
            await self._scene.ingest(name, EVENTS)
        firing = asyncio.ensure_future(self._fire(kills))
        await asyncio.gather(firing, self._change(objects, firing))
        try:
            await self._settled()
            await self._restored()
            await self._settled()
        except Never as never:
            self.outcome.faults.append(str(never))
        await check(self._scene, self._expected, self.outcome)
        return self.outcome

    async def _fire(self, kills: int) -> None:
        for _ in range(kills):
            await asyncio.sleep(self._random.uniform(0.3, 3.5))
            await self._operator.kill()
            self.outcome.kills += 1
            await self._operator.start()

    async def _change(self, objects: int, firing: asyncio.Future[None]) -> None:
        """Creates so many objects, and goes on changing and deleting while there is firing."""
        while self.outcome.objects < objects or not firing.done():
            await asyncio.sleep(self._random.uniform(0.05, 0.6))
            if self.outcome.objects < objects:
                await self._new(self.outcome.objects)
                self.outcome.objects += 1
            await self._random.choice([self._touch, self._touch, self._delete])()

    async def _new(self, number: int) -> None:
        source = self._random.choice(SOURCES)
        match number % 5:
            case 0 | 1:
                await self._stream(f"stream-{number}", self._random.choice(["Retain", "Delete"]))
            case 2 | 3:
                name, queue = f"job-{number}", self._scene.queue(str(number))
                await self._scene.create("ReplayJob", name, job_spec(source, queue))
                self._expected.jobs[name] = queue
            case _:
                name = f"version-{number}"
                await self._scene.create("AggregateVersion", name, version_spec(source))
                self._expected.versions.add(name)

    async def _stream(self, name: str, policy: str) -> None:
        spec = stream_spec(name, policy)
        await self._scene.create("CaptureStream", name, spec)
        self._expected.streams[name] = spec

    def _others(self) -> list[str]:
        """Streams that may be deleted."""
        return [name for name in self._expected.streams if name not in SOURCES]

    async def _touch(self) -> None:
        """Something of a spec or of metadata changes."""
        streams, jobs = self._others(), sorted(self._expected.jobs)
        choice = self._random.randrange(4)
        if choice == 0 and streams:
            name, tags = self._random.choice(streams), {"round": str(self._random.randint(30, 400))}
            self._expected.streams[name]["storage"]["tags"] = tags
            await self._scene.merge("CaptureStream", name, {"spec": {"storage": {"tags": tags}}})
        elif choice == 1 and jobs:
            suspended = {"spec": {"suspend": self._random.random() < 0.3}}
            await self._scene.merge("ReplayJob", self._random.choice(jobs), suspended)
        elif choice == 2 and jobs:
            await self._again(self._random.choice(jobs))
        else:
            name = self._random.choice([*SOURCES, *streams])
            label = {"metadata": {"labels": {"seen": str(self._random.randrange(99))}}}
            await self._scene.merge("CaptureStream", name, label)
        self.outcome.changes["changed"] += 1

    async def _delete(self) -> None:
        streams = self._others()
        if self._random.random() > 0.25 or len(streams) < 3:
            return
        name = self._random.choice(streams)
        there = await self._scene.get("CaptureStream", name)
        del self._expected.streams[name]
        self._expected.deleted[name] = there["spec"]["storage"]["deletionPolicy"]
        await self._scene.remove("CaptureStream", name)
        self.outcome.changes["deleted"] += 1

    async def _restored(self) -> None:
        """Every job is gone and there again, with no status and under another process."""
        await self._operator.kill()
        for name in self._expected.jobs:
            await self._again(name)
        await self._operator.start()

    async def _again(self, name: str) -> None:
        there = await self._scene.get("ReplayJob", name)
        await self._scene.remove("ReplayJob", name)
        await self._scene.create("ReplayJob", name, there["spec"])

    async def _settled(self) -> None:
        """Raises `Never`."""
        for name in self._expected.jobs:
            await self._scene.merge("ReplayJob", name, {"spec": {"suspend": False}})
        for kind in ("CaptureStream", "ReplayJob", "AggregateVersion"):

            async def settled(kind: str = kind) -> bool:
                items = (await self._scene.api.get(self._scene.path(kind)))["items"]
                return all(is_settled(each) for each in items)

            await until(f"every {kind} has settled", settled)
        for name in self._expected.deleted:

            async def gone(name: str = name) -> bool:
                try:
                    await self._scene.get("CaptureStream", name)
                except KubeNotFound:
                    return True
                return False

            await until(f"{name} is gone", gone)


async def campaign(
    ground: Ground, namespace: str, scratch: Path, *, kills: int, objects: int, seed: int
) -> Outcome:
    """With replays in the operator's own process, so that they are killed with it."""
    async with scene(ground, namespace, scratch, "--executor", "InProcess") as made:
        return await Campaign(made, made.operator(), seed).run(kills, objects)


@contextmanager
def _grounds(home: Path) -> Iterator[Ground]:
    """A control plane and an emulator of our own."""
    python = emulator.install(emulator.cache_directory(os.environ))
    running = emulator.start(python, log=home / "emulator.log")
    started = handle.start(home / "cluster", os.environ)
    try:
        with_crds(started.cluster)
        helm = helm_of(home / "helm", started.cluster.environment())
        yield Ground(started.cluster, Renderer(helm), running.endpoint)
    finally:
        started.stop()
        emulator.stop(running)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--objects", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, _grounds(Path(home)) as ground:
        outcome = asyncio.run(
            campaign(
                ground,
                "restarts",
                Path(home),
                kills=options.kills,
                objects=options.objects,
                seed=options.seed,
            )
        )
    sys.stdout.write(f"{outcome}\n")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
