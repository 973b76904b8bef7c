"""A namespace of a cluster, an AWS, and an operator that works on both: what a test does with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chart.rendering import Renderer
from cluster.handle import Cluster
from controller.manifests import events
from pik.api.capture_stream import CaptureStream
from pik.api.common import API_VERSION
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
from running.process import OperatorProcess
from running.rights import Right, granted, manifests, without
from running.specs import is_true

PATIENCE = 120.0  # seconds, for anything
_LOOK_UP = 0.1


class Never(AssertionError):
    """What was waited for did not come."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A cluster, the chart, and the endpoint of an AWS emulator."""

    cluster: Cluster
    render: Renderer
    endpoint: str


@dataclass(slots=True)
class Scene:
    """`api`: as an administrator. `operators_kubeconfig`, `options`: of its operators."""

    api: KubeApi
    namespace: str
    clients: AwsClients
    workshop: Workshop
    operators_kubeconfig: Path
    endpoint: str
    scratch: Path
    options: tuple[str, ...]
    operators: list[OperatorProcess] = field(default_factory=list)

    def operator(self, identity: str = "replica-0") -> OperatorProcess:
        """One that has not been started yet."""
        log = self.scratch / f"{identity}.log"
        made = OperatorProcess(
            self.operators_kubeconfig, self.endpoint, log, identity=identity, options=self.options
        )
        self.operators.append(made)
        return made

    # objects

    def path(self, kind: str, name: str = "") -> str:
        base = objects_of(kind, self.namespace)
        return f"{base}/{name}" if name else base

    async def create(self, kind: str, name: str, spec: Object, **meta: Any) -> Object:
        metadata = {"name": name, "namespace": self.namespace, **meta}
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
        return await self.api.create(self.path(kind), body)

    async def get(self, kind: str, name: str) -> Object:
        return await self.api.get(self.path(kind, name))

    async def merge(self, kind: str, name: str, body: Object) -> Object:
        return await self.api.patch(self.path(kind, name), body)

    async def remove(self, kind: str, name: str) -> None:
        await self.api.delete(self.path(kind, name))

    async def until_true(self, kind: str, name: str, condition: str) -> Object:
        """The object, once it has this condition. Raises `Never` with what it has."""
        there: Object = {}

        async def holds() -> bool:
            nonlocal there
            there = await self.get(kind, name)
            return is_true(there, condition)

        await until(f"{kind} {name} is {condition}", holds, lambda: str(there.get("status")))
        return there

    async def until_gone(self, kind: str, name: str) -> None:
        """Raises `Never`."""

        async def holds() -> bool:
            try:
                await self.get(kind, name)
            except KubeNotFound:
                return True
            return False

        await until(f"{kind} {name} is gone", holds)

    async def told(self, name: str) -> list[Object]:
        """The Events of an object."""
        path = f"/api/v1/namespaces/{self.namespace}/events"
        listed = await self.api.get(path, fieldSelector=f"involvedObject.name={name}")
        found: list[Object] = listed["items"]
        return found

    # events

    async def stream(self, name: str) -> Stream:
        """The stream, once it is Ready."""
        await self.until_true("CaptureStream", name, "Ready")
        resource = CaptureStream.from_manifest(await self.get("CaptureStream", name))
        status = resource.status
        bucket = (status.storage and status.storage.bucket) or ""
        table = (status.index and status.index.table) or ""
        place = Place(status.streamID or "", bucket, table)
        return (await self.workshop.open(resource, place, takes_events=False)).stream

    async def ingest(self, name: str, count: int) -> None:
        capture = Capture(await self.stream(name), CaptureSettings())
        await capture.ingest(events(count, entities=17))
        await capture.close()

    def queue(self, name: str) -> str:
        """URL of a new SQS queue."""
        made = self.clients.client("sqs").create_queue(QueueName=f"{self.namespace}-{name}")
        return str(made["QueueUrl"])

    def received(self, queue: str) -> list[tuple[str, str]]:
        """Run and stable key of each message that is in the queue; they are taken out of it."""
        sqs = self.clients.client("sqs")
        found: list[tuple[str, str]] = []
        while messages := sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            told = [each["MessageAttributes"] for each in messages]
            found += [(each["pikrun"]["StringValue"], each["pikkey"]["StringValue"]) for each in told]
            for each in messages:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
        return found


async def until(
    what: str, holds: Callable[[], Awaitable[bool]], instead: Callable[[], str] = lambda: ""
) -> None:
    """Raises `Never`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not await holds():
        if loop.time() > deadline:
            raise Never(f"{what}: {instead()}")
        await asyncio.sleep(_LOOK_UP)


@asynccontextmanager
async def scene(
    ground: Ground, namespace: str, scratch: Path, *options: str, lacking: Right | None = None
) -> AsyncIterator[Scene]:
    """In a new namespace. Its operators have the rights that the chart gives in that namespace, but for
    `lacking`, and are killed in the end."""
    asking, listening, io, work = (ThreadOffload(number) for number in (4, 1, 8, 2))
    api = KubeApi(configuration(ground.cluster.kubeconfig), asking, listening)
    access = AwsAccess(endpoint_url=ground.endpoint)
    clock, entropy = SystemClock(), SystemEntropy()
    cloud = AwsCloud(access, io=io, cpu=work, clock=clock, entropy=entropy, loopback=False)
    workshop = Workshop(
        cloud, clock=clock, entropy=entropy, offload=work, cache=scratch / "segments", wake=lambda _: None
    )
    made: Scene | None = None
    of_its_own = ("--cluster", namespace, "--namespace", namespace, "--watch-namespaces", namespace)
    given = manifests(ground.render, namespace, watchNamespaces=[namespace])
    if lacking is not None:
        given = without(given, lacking)
    try:
        await api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        operators = await asyncio.to_thread(granted, ground.cluster, namespace, given)
        made = Scene(
            api,
            namespace,
            AwsClients(access),
            workshop,
            operators,
            ground.endpoint,
            scratch,
            (*of_its_own, *options),
        )
        yield made
    finally:
        for operator in made.operators if made is not None else ():
            await operator.kill()
        for opened in workshop.opened():
            await opened.capture.close()
        for threads in (asking, listening, io, work):
            threads.close()
