"""A cluster in memory: objects as an API server keeps them, an AWS account, and the manager over both."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pik.api.capture_stream import CaptureStream
from pik.api.conditions import ConditionType, condition_of, is_true
from pik.api.functions import Architecture
from pik.api.kinds import AnyResource
from pik.api.manifests import load_text
from pik.api.storage import Storage
from pik.api.validation import admit
from pik.aws.system import SystemEntropy
from pik.controller.background import Background
from pik.controller.computations import InProcessComputations
from pik.controller.manager import Manager
from pik.controller.objects import ObjectKey, key_of
from pik.controller.outcome import AnyStatus, Backoff, ObjectEvent
from pik.controller.queue import WorkQueue
from pik.controller.reconcilers import reconcilers
from pik.controller.replay_runs import InProcessRuns
from pik.controller.roles import LocalRights, Roles
from pik.controller.workshop import OpenStream, Workshop
from pik.controller.world import Callers, Timing, World
from pik.domain.arrivals import Arrival
from pik.domain.errors import PackageMissing, RoleNotAllowed, SelectorNotReadable
from pik.domain.instants import Instant, parse_instant
from pik.execution.capture.settings import CaptureSettings
from pik.execution.retrying import Patience
from pik.memory.catalog import MemoryCatalog
from pik.memory.functions import MemoryFunctions, MemoryLambda
from pik.memory.index import MemoryIndex
from pik.memory.objects import MemoryObjectStore
from pik.memory.provisioning import MemoryAccount, MemoryProvisioner
from pik.memory.sink import DELIVERED, Answer, MemorySink, MemoryTarget, accept
from pik.memory.sources import MemoryPipes, MemorySources
from pik.memory.system import InlineOffload, ManualClock, SeededEntropy
from pik.planning.functions import FunctionKind, code_digest
from pik.planning.replay.messages import Message
from pik.planning.replay.spec import TargetAddress
from pik.ports.queries import QueryService
from pik.ports.sinks import Delivery
from pik.ports.system import Entropy

START = parse_instant("2026-03-01T12:00:00Z")
NOBODY_KNOWN = Callers()
TIMING = Timing(resync=60.0, counters=60.0, seals=300.0, orphans=3_600.0, rebuild=60.0, settle=60.0)


class MemoryCloud:
    """`controller.cloud.Cloud`. `fault`: asked at every call, by the call's name, for an error to raise.
    `roles`: those that may be assumed, by role and namespace; work with each has a cloud of its own."""

    def __init__(self, account: MemoryAccount, clock: ManualClock) -> None:
        self.account = account
        self.lambdas = MemoryLambda()
        self.pipes = MemoryPipes()
        self.target = MemoryTarget()
        self.answer: Answer = accept
        self.fault: Callable[[str], Exception | None] = lambda _: None
        self.calls: Counter[str] = Counter()
        self.roles: dict[tuple[str, str], MemoryCloud] = {}
        self.athena: QueryService | None = None
        self.asked: list[tuple[str, str]] = []  # work groups, and places for results
        self.glue = MemoryCatalog(before=self.before)
        self._clock = clock

    async def before(self, call: str) -> None:
        self.calls[call] += 1
        await asyncio.sleep(0)
        error = self.fault(call)
        if error is not None:
            raise error

    def of(self, stream: CaptureStream) -> MemoryCloud:
        role = stream.spec.roleARN
        if role is None:
            return self
        if (role, stream.metadata.namespace) not in self.roles:
            raise RoleNotAllowed(f"the map does not have {role}")
        return self.roles[role, stream.metadata.namespace]

    def provisioner(self, region: str | None) -> MemoryProvisioner:
        return MemoryProvisioner(self.account, before=self.before)

    def functions(self, region: str | None) -> MemoryFunctions:
        return MemoryFunctions(self.lambdas, before=self.before)

    def sources(self, region: str | None) -> MemorySources:
        return MemorySources(self.pipes, before=self.before)

    def objects(self, bucket: str, storage: Storage) -> MemoryObjectStore:
        return MemoryObjectStore(self.account.bucket(bucket), self._clock, before=self.before)

    def index(self, table: str, storage: Storage, writes: object = None) -> MemoryIndex:
        return MemoryIndex(self.account.table(table), before=self.before)

    def read_back(self, target: TargetAddress) -> None:
        return None

    def queries(self, region: str | None, work_group: str, output: str) -> QueryService:
        assert self.athena is not None
        self.asked.append((work_group, output))
        return self.athena

    def catalog(self, region: str | None) -> MemoryCatalog:
        return self.glue

    def sink(self, target: TargetAddress) -> MemorySink:
        return MemorySink(self.target, answer=lambda message: self.answer(message), before=self.before)


class Tenants:
    """`ApprovalGuard` and `Namespaces`. `labels_of` None: they cannot be read."""

    def __init__(self) -> None:
        self.is_governed = True
        self.labels_of: dict[str, dict[str, str]] | None = {}
        self.error: Exception | None = None
        self.asked: list[ObjectKey] = []

    async def governed(self, job: ObjectKey) -> bool:
        self.asked.append(job)
        if self.error is not None:
            raise self.error
        return self.is_governed

    async def labels(self, namespace: str) -> Mapping[str, str]:
        if self.error is not None:
            raise self.error
        if self.labels_of is None:
            raise SelectorNotReadable("of a namespaced installation")
        return self.labels_of.get(namespace, {})


class PackagesInMemory:
    """`ports.Packages`. `release`: what they are made of."""

    def __init__(self) -> None:
        self.release = "1"
        self.missing = False

    async def digest(self, kind: FunctionKind, architecture: Architecture) -> str:
        return code_digest(await self.read(kind, architecture))

    async def read(self, kind: FunctionKind, architecture: Architecture) -> bytes:
        if self.missing:
            raise PackageMissing("there are none")
        return f"{kind} {architecture} {self.release}".encode()


class ObjectsInMemory:
    """`Objects` and `ObjectWriter`, with every status that was written."""

    def __init__(self) -> None:
        self.there: dict[ObjectKey, AnyResource] = {}
        self.written: list[tuple[ObjectKey, AnyStatus]] = []
        self.events: list[tuple[ObjectKey, ObjectEvent]] = []
        self.changed: Callable[[ObjectKey], None] = lambda _: None
        self.now: Callable[[], Instant] = lambda: START

    def find(self, key: ObjectKey) -> AnyResource | None:
        return self.there.get(key)

    def keys(self) -> Sequence[ObjectKey]:
        return sorted(self.there)

    async def write_status(self, resource: AnyResource, status: AnyStatus) -> None:
        key = key_of(resource)
        now = self.there.get(key)
        if now is not None and now.metadata.uid == resource.metadata.uid and now.status != status:
            self.there[key] = now.model_copy(update={"status": status})  # type: ignore[assignment]
            self.written.append((key, status))

    async def record(self, resource: AnyResource, events: Sequence[ObjectEvent]) -> None:
        self.events += [(key_of(resource), event) for event in events]

    async def delete(self, resource: AnyResource) -> None:
        self.mark_deleted(key_of(resource))

    async def hold(self, resource: AnyResource, *, held: bool) -> bool:
        return True

    async def finalized(self, resource: AnyResource) -> bool:
        self.there.pop(key_of(resource), None)
        return True

    def mark_deleted(self, key: ObjectKey) -> None:
        resource = self.there[key]
        now = self.now()
        meta = resource.metadata.model_copy(update={"deletionTimestamp": now.text})
        self.there[key] = resource.model_copy(update={"metadata": meta})  # type: ignore[assignment]
        self.changed(key)


class Cluster:
    """Time passes by `advance`; work is done by `settle`."""

    def __init__(
        self,
        cache: Path,
        *,
        name: str = "here",
        account: MemoryAccount | None = None,
        timing: Timing = TIMING,
        cloud: Callable[[ManualClock, Entropy], Any] | None = None,
        callers: Callers = NOBODY_KNOWN,
    ) -> None:
        """`cloud`: another than one in memory, whose calls take time and whose tables others have too."""
        self.timing = timing
        self.callers = callers
        self.pause = 0.0 if cloud is None else 0.002  # seconds between two looks at what is under way
        self.clock = ManualClock(START)
        self.entropy: Entropy = SystemEntropy() if cloud else SeededEntropy(sum(name.encode()))
        self.account = account or MemoryAccount()
        self.cloud: Any = cloud(self.clock, self.entropy) if cloud else MemoryCloud(self.account, self.clock)
        self.objects = ObjectsInMemory()
        self.objects.now = self.clock.now
        self.tenants = Tenants()
        self.roles: Roles = LocalRights()
        self.packages = PackagesInMemory()
        self.name = name
        self.cache = cache
        self.gateway_is_up = True
        self._uids = 0
        self.start()

    def start(self) -> None:
        """A new process: nothing is known but objects and AWS."""
        self.queue = WorkQueue(self.clock)
        self.background = Background(self.queue.add)
        offload = InlineOffload()
        patience = Patience(2, 0.01, 0.01)
        self.workshop = Workshop(
            self.cloud,
            clock=self.clock,
            entropy=self.entropy,
            offload=offload,
            cache=self.cache,
            wake=self.queue.add,
            settings=CaptureSettings(patience=patience),
        )
        self.workshop.known_by(lambda key: self.objects.find(key) is not None)
        self.world = World(
            cluster=self.name,
            objects=self.objects,
            cloud=self.cloud,
            workshop=self.workshop,
            background=self.background,
            runs=InProcessRuns(
                self.background, self.cloud, clock=self.clock, entropy=self.entropy, wake=self.queue.add
            ),
            computations=InProcessComputations(self.background),
            clock=self.clock,
            entropy=self.entropy,
            gateway="http://127.0.0.1:8000",
            gateway_answers=self._gateway_answers,
            callers=self.callers,
            loopback=True,
            approvals=self.tenants,
            namespaces=self.tenants,
            roles=self.roles,
            packages=self.packages,
            timing=self.timing,
        )
        self.manager = Manager(
            self.objects,
            self.objects,
            reconcilers(self.world),
            self.queue,
            self.clock,
            self.entropy,
            Backoff(1.0, 60.0),
        )
        self.objects.changed = self.manager.changed
        for key in self.objects.keys():  # noqa: SIM118
            self.queue.add(key)

    async def _gateway_answers(self) -> bool:
        return self.gateway_is_up

    async def stop(self) -> None:
        await self.background.close(grace=0.1)
        for opened in self.workshop.opened():
            await opened.capture.close()

    def apply_in_first_chunk(self, text: str, namespace: str = "default") -> None:
        """Somebody applies this while the run of the job `again` sends its first chunk."""

        async def answer(message: Message) -> Delivery:
            if len(self.cloud.target.received) == 0:
                self.apply(text)
                await self.manager.one(ObjectKey("ReplayJob", namespace, "again"))
            return DELIVERED

        self.cloud.answer = answer

    def apply(self, text: str) -> ObjectKey:
        """Creates or changes an object, as an API server would. Raises `InvalidManifest`."""
        (manifest,) = load_text(text)
        meta = manifest.value["metadata"]
        key = ObjectKey(manifest.value["kind"], meta.get("namespace", "default"), meta["name"])
        old = self.objects.there.get(key)
        stored = None if old is None else _manifest(old)
        new = admit(manifest.value, stored).resource
        if old is None:
            self._uids += 1
            server: dict[str, Any] = {"uid": f"uid-{self._uids}", "generation": 1}
        else:
            respecified = new.spec != old.spec
            generation = (old.metadata.generation or 0) + respecified
            server = {"uid": old.metadata.uid, "generation": generation}
        meta_now = new.metadata.model_copy(update={"creationTimestamp": START.text, **server})
        status = new.status if old is None else old.status
        self.objects.there[key] = new.model_copy(  # type: ignore[assignment]
            update={"metadata": meta_now, "status": status}
        )
        self.manager.changed(key)
        return key

    def delete(self, key: ObjectKey) -> None:
        self.objects.mark_deleted(key)

    def forget_status(self, key: ObjectKey) -> None:
        """As a backup that was restored without status."""
        resource = self.objects.there[key]
        self.objects.there[key] = resource.model_copy(  # type: ignore[assignment]
            update={"status": type(resource.status)()}
        )
        self.manager.changed(key)

    async def settle(self, rounds: int = 20_000) -> None:
        """Works until nothing is due and nothing is under way in the background."""
        still = 0
        for _ in range(rounds):
            if self.queue.has_due():
                still = 0
                key = await self.queue.take()
                try:
                    await self.manager.one(key)
                finally:
                    self.queue.done(key)
            elif self.background.is_idle() and (still := still + 1) > 3:
                return
            else:
                await asyncio.sleep(self.pause)
        raise AssertionError("it does not settle")

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.settle()

    def status(self, key: ObjectKey) -> Any:
        return self.objects.there[key].status

    def condition(self, key: ObjectKey, kind: str) -> tuple[str, str] | None:
        """Status and reason of a condition."""
        found = next((one for one in self.status(key).conditions if one.type == kind), None)
        return None if found is None else (found.status, found.reason)

    def kstatus(self, key: ObjectKey) -> str:
        return kstatus(self.objects.there[key])

    def opened(self, key: ObjectKey) -> OpenStream:
        opened = self.workshop.find(key)
        assert opened is not None
        return opened

    async def ingest(self, key: ObjectKey, arrivals: Sequence[Arrival]) -> list[str]:
        """The answers' statuses."""
        answers = await self.opened(key).capture.ingest(arrivals)
        return [answer.status.value for answer in answers]


def kstatus(resource: AnyResource) -> str:
    """What kstatus (sigs.k8s.io/cli-utils) computes: what Flux, Helm and `kubectl wait`'s users go by."""
    if resource.metadata.deletionTimestamp is not None:
        return "Terminating"
    status = resource.status
    if status.observedGeneration is not None and status.observedGeneration != resource.metadata.generation:
        return "InProgress"
    if is_true(status.conditions, ConditionType.RECONCILING):
        return "InProgress"
    if is_true(status.conditions, ConditionType.STALLED):
        return "Failed"
    ready = condition_of(status.conditions, ConditionType.READY)
    return "InProgress" if ready is not None and ready.status != "True" else "Current"


def _manifest(resource: AnyResource) -> dict[str, Any]:
    return {
        "apiVersion": "pik.dev/v1alpha1",
        "kind": resource.KIND,
        "metadata": resource.metadata.model_dump(exclude_none=True, mode="json"),
        "spec": resource.spec.to_manifest(),
        "status": resource.status.to_manifest(),
    }
