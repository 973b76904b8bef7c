"""The operator's process: every replica watches, one leads, and the leader's reconcilers work."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from kubernetes.client import Configuration

from pik.api.capture_stream import CaptureStream
from pik.aws.clients import AwsAccess
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.cluster.api import KubeApi, Object
from pik.cluster.api_server import api_server_networks, control_plane
from pik.cluster.approvals import GovernedApprovals
from pik.cluster.events import EventRecorder
from pik.cluster.gateway_probe import GatewayProbe
from pik.cluster.handlers import Tell, Watching
from pik.cluster.health import Health
from pik.cluster.informer import Informer
from pik.cluster.jobs.executor import job_executor
from pik.cluster.leading import Leadership
from pik.cluster.metrics.registry import process_registry
from pik.cluster.namespaces import namespaces
from pik.cluster.objects import ClusterObjects
from pik.cluster.observing import OperatorObserver
from pik.cluster.resync import Resync
from pik.cluster.settings import OperatorSettings
from pik.controller.aws_cloud import AwsCloud
from pik.controller.background import Background
from pik.controller.computations import InProcessComputations
from pik.controller.gateway_watch import GatewayWatch
from pik.controller.manager import Manager
from pik.controller.objects import ObjectKey
from pik.controller.packages import packages_in
from pik.controller.queue import WorkQueue
from pik.controller.reconcilers import reconcilers
from pik.controller.replay_runs import InProcessRuns
from pik.controller.roles import NoRoles, RoleFile
from pik.controller.workshop import Workshop
from pik.controller.world import World, always
from pik.domain.errors import PikError
from pik.gateway.server import serving

log = logging.getLogger(__name__)

_CONNECTIONS = 8  # to the API server


@dataclass(slots=True)
class Operator:
    """The process at work. `parts`: what goes on until the process ends."""

    objects: ClusterObjects
    manager: Manager
    world: World
    leadership: Leadership
    settings: OperatorSettings
    resync: Resync
    watching: Watching
    gateway: GatewayWatch | None = None
    informers: tuple[Informer, ...] = ()  # beside the three kinds, while it leads
    parts: list[asyncio.Task[None]] = field(default_factory=list)

    def dead(self) -> list[str]:
        """What has ended and should go on as long as the process: it has to be started anew."""
        return [f"{part.get_name()} has ended" for part in self.parts if part.done()]

    def unready(self) -> list[str]:
        """Why it does not work, or could not take over: a replica that waits for its turn is ready."""
        waits = [] if self.parts else ["it starts"]
        begun = {part.get_name() for part in self.parts}
        leads = [] if not self.leadership.leads or "workers" in begun else ["the objects are being listed"]
        return [*self.dead(), *waits, *leads]

    async def run(self) -> None:
        """Until cancelled. Raises what ended a part: the process is then to be started anew, since a replica
        that has lost its lease or its watch must not go on."""
        async with asyncio.TaskGroup() as group:
            self.parts.append(group.create_task(self.watching.run(), name="watch"))
            await self._lead(group)

    async def _lead(self, group: asyncio.TaskGroup) -> None:
        await self.leadership.acquire()
        self.parts.append(group.create_task(self.leadership.keep(), name="lease"))
        await self.resync.fill()
        self.parts.append(group.create_task(self.resync.run(), name="resync"))
        if self.gateway is not None:
            self.parts.append(group.create_task(self.gateway.run(), name="gateway"))
        for informer in self.informers:
            self.parts.append(group.create_task(informer.run(), name="informer"))
        self.parts.append(group.create_task(self.manager.run(self.settings.workers), name="workers"))
        await self.manager.take_up(CaptureStream.KIND)


@asynccontextmanager
async def operator(
    configuration: Configuration, access: AwsAccess, settings: OperatorSettings
) -> AsyncIterator[Operator]:
    """With threads and connections, which end with the block. On leaving, runs are halted at their next
    checkpoint within `settings.grace`, and then another replica may lead."""
    async with AsyncExitStack() as stack:
        clock, entropy = SystemClock(), SystemEntropy()
        io = _threads(stack, access.connections, "aws")
        work = _threads(stack, 2, "work")
        asking = _threads(stack, _CONNECTIONS, "kubernetes")
        listening = _threads(stack, 2 + len(settings.watch), "watch")
        api = KubeApi(configuration, asking, listening, _CONNECTIONS)
        cache = Path(settings.cache or stack.enter_context(tempfile.TemporaryDirectory(prefix="pik-")))
        observer = OperatorObserver(process_registry(version("pipeline-investigation-kit")), clock, entropy)
        queue = WorkQueue(clock, observer.queue)
        leadership = Leadership(
            api,
            settings.namespace,
            settings.lease_name,
            settings.identity,
            clock,
            settings.lease,
        )
        stack.push_async_callback(leadership.release)  # last: nothing of ours works any more

        def changed(key: ObjectKey) -> None:
            if leadership.leads:
                manager.changed(key)

        objects = ClusterObjects(api, EventRecorder(api, clock, entropy, settings.identity), changed=changed)
        hosts = [urlsplit(api.server).hostname, *await control_plane(api)]
        networks = (*settings.forbidden, *await api_server_networks(hosts))
        roles = NoRoles() if settings.roles is None else RoleFile(settings.roles)
        cloud = AwsCloud(
            access,
            io=io,
            cpu=work,
            clock=clock,
            entropy=entropy,
            loopback=False,
            networks=networks,
            roles=roles,
            observer=observer.aws,
        )
        background = Background(queue.add)
        workshop = Workshop(cloud, clock=clock, entropy=entropy, offload=work, cache=cache, wake=queue.add)
        workshop.known_by(lambda key: objects.find(key) is not None)
        stack.push_async_callback(_close, workshop)
        stack.push_async_callback(background.close, settings.grace)
        probe = GatewayProbe(settings.gateway_health or settings.gateway, clock) if settings.gateway else None
        if probe is not None:
            stack.push_async_callback(probe.close)
        executing = (
            _InProcess(
                InProcessRuns(
                    background, cloud, clock=clock, entropy=entropy, wake=queue.add, memory=settings.memory
                ),
                InProcessComputations(background, memory=settings.memory),
            )
            if settings.jobs is None
            else job_executor(
                api,
                replace(settings.jobs, networks=networks, roles=roles),
                settings.watch,
                clock=clock,
                entropy=entropy,
                wake=queue.add,
            )
        )
        world = World(
            cluster=settings.cluster,
            objects=objects,
            cloud=cloud,
            workshop=workshop,
            background=background,
            runs=executing.runs,
            computations=executing.computations,
            clock=clock,
            entropy=entropy,
            gateway=settings.gateway,
            gateway_answers=always if probe is None else probe.answers,
            callers=settings.callers,
            loopback=False,
            in_pods=settings.jobs is not None,
            networks=networks,
            approvals=GovernedApprovals(api, clock),
            namespaces=namespaces(api, settings.watch, clock),
            roles=roles,
            packages=packages_in(settings.functions, work),
            memory=settings.memory,
            timing=settings.timing,
            observer=observer.streams,
        )
        manager = Manager(
            objects, objects, reconcilers(world), queue, clock, entropy, settings.backoff, observer
        )
        observer.queue.watch(queue)
        watched = executing.informers
        observer.leading(
            lambda: leadership.leads, lambda: {("jobs",): sum(each.restarts for each in watched)}
        )
        resync = Resync(
            api,
            objects,
            settings.watch,
            clock=clock,
            entropy=entropy,
            interval=settings.timing.resync,
        )
        watching = Watching(configuration, settings.watch, _told(objects))

        def wake_streams() -> None:
            for key in objects.keys():  # noqa: SIM118 - no mapping
                if key.kind == CaptureStream.KIND:
                    queue.add(key)

        made = Operator(
            objects,
            manager,
            world,
            leadership,
            settings,
            resync,
            watching,
            None if probe is None else GatewayWatch(probe.answers, wake_streams, clock),
            executing.informers,
        )
        if settings.metrics_port is not None:
            health = Health(observer.registry, work, live=made.dead, ready=made.unready)
            await stack.enter_async_context(serving(health, settings.host, settings.metrics_port, grace=1.0))
        yield made


@dataclass(frozen=True, slots=True)
class _InProcess:
    runs: InProcessRuns
    computations: InProcessComputations
    informers: tuple[Informer, ...] = ()


def _told(objects: ClusterObjects) -> Tell:
    def tell(kind: str | None, given: Object) -> None:
        if kind == "DELETED":
            objects.gone(given)
        else:
            objects.seen(given)

    return tell


def _threads(stack: AsyncExitStack, number: int, name: str) -> ThreadOffload:
    threads = ThreadOffload(number, name)
    stack.callback(threads.close)
    return threads


async def _close(workshop: Workshop) -> None:
    for opened in workshop.opened():
        with suppress(PikError):
            await opened.capture.close()
