"""The operator is killed at random while objects are created, changed and deleted; then the world is held
against the specs, by what AWS, the API server and the queues' own messages say.

    python -m restarts.campaign --kubeconfig FILE --endpoint URL [--kills 50] [--objects 50] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from controller.manifests import events
from pik.api.capture_stream import CaptureStream
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.cluster.api import KubeApi, Object, configuration
from pik.cluster.errors import KubeNotFound
from pik.cluster.paths import objects_of
from pik.controller.aws_cloud import AwsCloud
from pik.controller.workshop import Place, Workshop
from pik.execution.capture.capture import Capture
from pik.execution.capture.settings import CaptureSettings
from pik.execution.stream import Stream
from restarts.check import Check, Expected, Outcome
from restarts.process import OperatorProcess
from restarts.specs import EVENTS, SOURCES, is_settled, is_true, job_spec, stream_spec, version_spec

_SETTLE_SECONDS = 240.0
_POLL_SECONDS = 0.2


class Campaign:
    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        operator: OperatorProcess,
        workshop: Workshop,
        clients: AwsClients,
        random: Random,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._operator = operator
        self._workshop = workshop
        self._clients = clients
        self._sqs = clients.client("sqs")
        self._random = random
        self._expected = Expected()
        self.outcome = Outcome()

    async def run(self, kills: int, objects: int) -> Outcome:
        """Sources first, and their events; then changes under fire; then the count."""
        await self._api.create("/api/v1/namespaces", {"metadata": {"name": self._namespace}})
        await self._operator.start()
        for name in SOURCES:
            await self._create("CaptureStream", name, stream_spec(name))
            await self._ingest(name)
        firing = asyncio.ensure_future(self._fire(kills))
        changing = asyncio.ensure_future(self._change(objects, firing))
        await asyncio.gather(firing, changing)
        await self._settled()
        await Check(
            self._namespace, self._clients, self._expected, self.outcome, self._get, self._stream
        ).run()
        return self.outcome

    async def _fire(self, kills: int) -> None:
        for _ in range(kills):
            await asyncio.sleep(self._random.uniform(0.3, 3.5))
            await self._operator.kill()
            self.outcome.kills += 1
            await self._operator.start()

    async def _change(self, objects: int, firing: asyncio.Future[None]) -> None:
        """Creates `objects` objects, and goes on changing and deleting while there is firing."""
        while self.outcome.objects < objects or not firing.done():
            await asyncio.sleep(self._random.uniform(0.05, 0.6))
            if self.outcome.objects < objects:
                await self._new(self.outcome.objects)
            await self._random.choice([self._touch, self._touch, self._delete])()

    async def _new(self, number: int) -> None:
        self.outcome.objects += 1
        match number % 5:
            case 0 | 1:
                name = f"stream-{number}"
                policy = self._random.choice(["Retain", "Delete"])
                await self._create("CaptureStream", name, stream_spec(name, deletionPolicy=policy))
            case 2 | 3:
                name, queue = f"job-{number}", self._queue()
                await self._create("ReplayJob", name, job_spec(self._random.choice(SOURCES), queue))
                self._expected.jobs[name] = queue
            case _:
                name = f"version-{number}"
                await self._create("AggregateVersion", name, version_spec(self._random.choice(SOURCES)))
                self._expected.versions.add(name)

    async def _touch(self) -> None:
        """Something of a spec or of metadata changes."""
        streams = [name for name in self._expected.streams if name not in SOURCES]
        choice = self._random.randrange(4)
        if choice == 0 and streams:
            days = self._random.randint(30, 400)
            name = self._random.choice(streams)
            self._expected.streams[name]["storage"]["tags"] = {"round": str(days)}
            await self._merge("CaptureStream", name, {"spec": {"storage": {"tags": {"round": str(days)}}}})
        elif choice == 1 and self._expected.jobs:
            name = self._random.choice(sorted(self._expected.jobs))
            await self._merge("ReplayJob", name, {"spec": {"suspend": self._random.random() < 0.3}})
        elif choice == 2 and self._expected.jobs:
            # restored from a backup without its status: gone, and there again
            name = self._random.choice(sorted(self._expected.jobs))
            there = await self._get("ReplayJob", name)
            await self._remove("ReplayJob", name)
            await self._create("ReplayJob", name, there["spec"])
        else:
            name = self._random.choice([*SOURCES, *streams])
            label = {"metadata": {"labels": {"seen": str(self._random.randrange(99))}}}
            await self._merge("CaptureStream", name, label)
        self.outcome.changes["changed"] += 1

    async def _delete(self) -> None:
        streams = [name for name in self._expected.streams if name not in SOURCES]
        if self._random.random() > 0.25 or len(streams) < 3:
            return
        name = self._random.choice(streams)
        there = await self._get("CaptureStream", name)
        status, storage = there.get("status", {}), there["spec"]["storage"]
        del self._expected.streams[name]
        self._expected.deleted[name] = (
            storage["deletionPolicy"],
            status.get("storage", {}).get("bucket", ""),
            status.get("index", {}).get("table", ""),
        )
        await self._remove("CaptureStream", name)
        self.outcome.changes["deleted"] += 1

    # the API server

    def _path(self, kind: str, name: str = "") -> str:
        base = objects_of(kind, self._namespace)
        return f"{base}/{name}" if name else base

    async def _create(self, kind: str, name: str, spec: Object) -> None:
        body = {
            "apiVersion": "pik.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self._namespace},
            "spec": spec,
        }
        await self._api.create(self._path(kind), body)
        if kind == "CaptureStream":
            self._expected.streams[name] = spec

    async def _get(self, kind: str, name: str) -> Object:
        return await self._api.get(self._path(kind, name))

    async def _merge(self, kind: str, name: str, body: Object) -> None:
        await self._api.patch(self._path(kind, name), body)

    async def _remove(self, kind: str, name: str) -> None:
        await self._api.delete(self._path(kind, name))

    async def _until(self, what: str, holds: Any) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SETTLE_SECONDS
        while loop.time() < deadline:
            if await holds():
                return True
            await asyncio.sleep(_POLL_SECONDS)
        self.outcome.faults.append(f"in {_SETTLE_SECONDS:.0f} s never: {what}")
        return False

    # events

    async def _stream(self, name: str) -> Stream:
        async def ready() -> bool:
            return is_true(await self._get("CaptureStream", name), "Ready")

        if not await self._until(f"{name} is Ready", ready):
            raise TimeoutError("\n".join(self.outcome.faults))
        resource = CaptureStream.from_manifest(await self._get("CaptureStream", name))
        status = resource.status
        bucket = (status.storage and status.storage.bucket) or ""
        table = (status.index and status.index.table) or ""
        place = Place(status.streamID or "", bucket, table)
        return (await self._workshop.open(resource, place, takes_events=False)).stream

    async def _ingest(self, name: str) -> None:
        capture = Capture(await self._stream(name), CaptureSettings())
        await capture.ingest(events(EVENTS, entities=17))
        await capture.close()

    def _queue(self) -> str:
        name = f"{self._namespace}-{self.outcome.objects}"
        return str(self._sqs.create_queue(QueueName=name)["QueueUrl"])

    # the end

    async def _settled(self) -> None:
        for name in self._expected.jobs:
            await self._merge("ReplayJob", name, {"spec": {"suspend": False}})
        for kind in ("CaptureStream", "ReplayJob", "AggregateVersion"):

            async def settled(kind: str = kind) -> bool:
                items = (await self._api.get(self._path(kind)))["items"]
                return all(is_settled(each) for each in items)

            await self._until(f"every {kind} has settled", settled)
        for name in self._expected.deleted:

            async def gone(name: str = name) -> bool:
                try:
                    await self._get("CaptureStream", name)
                except KubeNotFound:
                    return True
                return False

            await self._until(f"{name} is gone", gone)


@asynccontextmanager
async def campaign(
    kubeconfig: Path, endpoint: str, namespace: str, scratch: Path, seed: int
) -> AsyncIterator[Campaign]:
    """With an operator of its own over the namespace, which is killed for good in the end."""
    asking, listening, io, work = (
        ThreadOffload(n, name) for n, name in ((4, "a"), (1, "w"), (8, "aws"), (2, "work"))
    )
    api = KubeApi(configuration(kubeconfig), asking, listening)
    access = AwsAccess(endpoint_url=endpoint)
    clock, entropy = SystemClock(), SystemEntropy()
    cloud = AwsCloud(access, io=io, cpu=work, clock=clock, entropy=entropy, loopback=False)
    workshop = Workshop(
        cloud, clock=clock, entropy=entropy, offload=work, cache=scratch / "segments", wake=lambda _: None
    )
    options = (
        *("--cluster", namespace, "--namespace", namespace, "--watch-namespaces", namespace),
        *("--workers", "4"),
    )
    operator = OperatorProcess(kubeconfig, endpoint, scratch / "operator.log", options=options)
    try:
        yield Campaign(api, namespace, operator, workshop, AwsClients(access), Random(seed))
    finally:
        await operator.kill()
        for opened in workshop.opened():
            await opened.capture.close()
        for threads in (asking, listening, io, work):
            threads.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--objects", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    namespace = f"restarts-{SystemEntropy().hex(6)}"

    async def run() -> Outcome:
        with tempfile.TemporaryDirectory() as scratch:
            made = campaign(options.kubeconfig, options.endpoint, namespace, Path(scratch), options.seed)
            async with made as ready:
                return await ready.run(options.kills, options.objects)

    outcome = asyncio.run(run())
    sys.stdout.write(f"{outcome}\n")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
