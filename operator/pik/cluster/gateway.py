"""The gateway's process: it takes the events of a cluster's streams over HTTP, side by side with others like
it. It sets nothing up, seals nothing and rebuilds nothing."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from kubernetes.client import Configuration

from pik.api.capture_stream import CaptureStream
from pik.aws.clients import AwsAccess
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.cluster.api import KubeApi, Object
from pik.cluster.authentication import Admissions, Reviews
from pik.cluster.doors import DoorKeeper
from pik.cluster.health import Health
from pik.cluster.informer import Informer
from pik.cluster.metrics import names
from pik.cluster.metrics.aws import AwsMetrics
from pik.cluster.metrics.ingest import IngestMetrics
from pik.cluster.metrics.registry import process_registry, read
from pik.cluster.paths import objects_of
from pik.cluster.requests import Requests
from pik.controller.aws_cloud import AwsCloud
from pik.controller.objects import ObjectKey
from pik.controller.roles import RoleFile
from pik.controller.workshop import Workshop
from pik.execution.capture.settings import MAX_WAIT, CaptureSettings
from pik.gateway.app import Gateway
from pik.gateway.server import Certificate, serving

_CONNECTIONS = 8  # to the API server


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What an installation decides about its gateway.

    `cluster`: its name in owner records. `watch`: namespaces whose streams are served; empty: all. `port`: of
    events, `metrics_port`: of metrics and health (None: neither is served); 0 takes a free one. `audience`:
    that tokens of ServiceAccounts have to be for. `tokens`: directory of mounted tokens. `roles`: file with
    the map of roles; None: there are none. `held_bytes`: of the
    bodies of all requests under way. `cache`: directory for segments that are being read; empty: a temporary
    one. `drain`: seconds for which requests are still taken after `readyz` says that no more should come.
    `grace`: seconds that those under way get then. `max_wait`: seconds that an event may have to wait behind
    others; what would wait longer is answered 429.
    """

    cluster: str
    watch: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8081
    metrics_port: int | None = None
    certificate: Certificate | None = None
    audience: str = "pik"
    tokens: Path = Path("/run/secrets/pik.dev/tokens")
    roles: Path | None = None
    held_bytes: int = 128 * 1024 * 1024
    cache: str = ""
    drain: float = 2.0
    grace: float = 15.0
    max_wait: float = MAX_WAIT


@dataclass(slots=True)
class GatewayProcess:
    """The process at work. `url`: where it takes events, `health`: of its metrics, where they are served."""

    keeper: DoorKeeper
    gateway: Gateway
    informers: Sequence[Informer]
    settings: GatewaySettings
    url: str = ""
    health: str | None = None
    draining: bool = False
    _parts: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self) -> None:
        """Until cancelled. Raises what ended a part."""
        async with asyncio.TaskGroup() as group:
            self._parts.append(group.create_task(self.keeper.run(), name="streams"))
            for informer in self.informers:
                self._parts.append(group.create_task(informer.run(), name="watch"))

    async def drain(self) -> None:
        """Tells those who ask that it is about to end; returns when they should have heard."""
        self.draining = True
        self.gateway.drain()
        await asyncio.sleep(self.settings.drain)

    def broken(self) -> list[str]:
        """Parts that have ended."""
        return [f"the part {part.get_name()} has ended" for part in self._parts if part.done()]

    def unready(self) -> list[str]:
        if self.draining:
            return ["it is shutting down"]
        return [*self.broken(), *self.keeper.faults()]


@asynccontextmanager
async def gateway_process(
    configuration: Configuration, access: AwsAccess, settings: GatewaySettings
) -> AsyncIterator[GatewayProcess]:
    """Serves while the block runs, what `run` finds. On leaving, requests under way are answered, and what
    was taken is written.

    Raises `CannotServe`.
    """
    async with AsyncExitStack() as stack:
        clock, entropy = SystemClock(), SystemEntropy()
        io = _threads(stack, access.connections, "aws")
        work = _threads(stack, 2, "work")
        asking = _threads(stack, _CONNECTIONS, "kubernetes")
        listening = _threads(stack, max(1, len(settings.watch)), "watch")
        api = KubeApi(configuration, asking, listening, _CONNECTIONS)
        registry = process_registry(version("pipeline-investigation-kit"))
        metrics = IngestMetrics(registry)
        cloud = AwsCloud(
            access,
            io=io,
            cpu=work,
            clock=clock,
            entropy=entropy,
            loopback=False,
            roles=None if settings.roles is None else RoleFile(settings.roles),
            observer=AwsMetrics(registry),
        )
        reviews = Reviews(api, settings.audience, clock, metrics.called)
        workshop = Workshop(
            cloud,
            clock=clock,
            entropy=entropy,
            offload=work,
            cache=Path(settings.cache or stack.enter_context(tempfile.TemporaryDirectory(prefix="pik-"))),
            wake=_nobody,  # the operator finds a first event by counting
            settings=CaptureSettings(max_wait=settings.max_wait),
            admissions=Admissions(reviews, settings.tokens, metrics.called),
        )
        stack.push_async_callback(_close, workshop, settings.grace)

        def doubt(key: ObjectKey) -> None:
            keeper.doubt(key)

        requests = Requests(metrics, clock, entropy, doubt)
        keeper = DoorKeeper(
            workshop, cloud, settings.cluster, clock=clock, entropy=entropy, forgotten=requests.gone
        )
        informers = [
            Informer(
                api,
                objects_of(CaptureStream.KIND, namespace),
                _Onlooker(keeper, namespace),
                clock=clock,
                entropy=entropy,
            )
            for namespace in settings.watch or (None,)
        ]
        keeper.synced_by(lambda: all(informer.synced.is_set() for informer in informers))
        gateway = Gateway(
            workshop.door,
            held_bytes=settings.held_bytes,
            ready=lambda: not made.unready(),
            observer=requests,
        )
        made = GatewayProcess(keeper, gateway, informers, settings)
        metrics.watch(
            lambda: sum(opened.capture.waiting for opened in workshop.opened()),
            lambda: gateway.held_bytes,
            lambda: {(state.value,): count for state, count in keeper.states().items()},
        )
        read(
            registry,
            names.WATCH_RESTARTS,
            lambda: {(CaptureStream.PLURAL,): sum(informer.restarts for informer in informers)},
        )
        if settings.metrics_port is not None:
            health = Health(registry, work, live=made.broken, ready=made.unready)
            made.health = await stack.enter_async_context(
                serving(health, settings.host, settings.metrics_port, grace=1.0)
            )
        made.url = await stack.enter_async_context(
            serving(
                gateway,
                settings.host,
                settings.port,
                settings.grace,
                closing=gateway.close,
                certificate=settings.certificate,
            )
        )
        yield made


class _Onlooker:
    """`informer.Onlooker` of one namespace, or of all."""

    def __init__(self, keeper: DoorKeeper, namespace: str | None) -> None:
        self._keeper = keeper
        self._namespace = namespace
        self.seen = keeper.seen
        self.gone = keeper.gone

    def listed(self, objects: Sequence[Object]) -> None:
        self._keeper.listed(self._namespace, objects)


def _nobody(_: ObjectKey) -> None: ...


def _threads(stack: AsyncExitStack, number: int, name: str) -> ThreadOffload:
    threads = ThreadOffload(number, name)
    stack.callback(threads.close)
    return threads


async def _close(workshop: Workshop, grace: float) -> None:
    """Everything that was taken is answered, or was not acknowledged and is sent again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(grace):
            await asyncio.gather(*(opened.capture.close() for opened in workshop.opened()))
