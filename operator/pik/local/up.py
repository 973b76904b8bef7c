"""Local mode: one process that reconciles a folder, takes its streams' events over HTTP on loopback, and can
be stopped and started again at any moment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import watchfiles

from pik.api.capture_stream import CaptureStream
from pik.aws.clients import AwsAccess
from pik.controller.background import Background
from pik.controller.computations import InProcessComputations
from pik.controller.manager import Manager
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Backoff, ObjectEvent, Retry
from pik.controller.packages import packages_in
from pik.controller.queue import WorkQueue
from pik.controller.reconcilers import reconcilers
from pik.controller.replay_runs import InProcessRuns
from pik.controller.roles import LocalRights
from pik.controller.workshop import Workshop
from pik.controller.world import Timing, World
from pik.domain.errors import PikError
from pik.execution.capture.settings import MAX_WAIT, CaptureSettings
from pik.execution.seals import seal_segments
from pik.gateway.app import Gateway
from pik.gateway.server import CannotServe, serving
from pik.local.folder import Fault, is_manifest
from pik.local.machine import machine
from pik.local.objects import FolderObjects
from pik.local.settled import Unfinished, is_moving, unfinished
from pik.local.state import State, Up

HOST = "127.0.0.1"
_TIMING = Timing(resync=30.0, counters=60.0, seals=60.0, orphans=600.0, rebuild=60.0)
_BACKOFF = Backoff(first=0.5, longest=30.0)
_BEGIN = "begin"  # the one part that comes to an end
_LOOK_UP = 0.05  # seconds between two looks at whether all has settled


class Stopped(PikError):
    """A part of local mode ended by itself, which it never should."""


@dataclass(frozen=True, slots=True)
class UpSettings:
    """`port`: of the gateway; 0 takes a free one. `grace`: seconds that requests and runs under way get at
    the end. `functions`: folder with the packages of AWS Lambda functions. `memory`: of one computation, such
    as `512MB`. `max_wait`: seconds that an event may have to wait behind others; what would wait longer is
    answered 429."""

    port: int = 0
    memory: str | None = None
    functions: Path | None = None
    workers: int = 4
    grace: float = 10.0
    max_wait: float = MAX_WAIT
    timing: Timing = _TIMING
    backoff: Backoff = _BACKOFF


@dataclass(slots=True)
class Teller:
    """Is told what happens. Both do nothing unless replaced."""

    event: Callable[[ObjectKey, ObjectEvent], None] = lambda *_: None
    faults: Callable[[Sequence[Fault]], None] = lambda _: None


@dataclass(slots=True)
class LocalMode:
    """Local mode at work."""

    objects: FolderObjects
    manager: Manager
    gateway: str  # base URL
    _parts: list[asyncio.Task[None]] = field(default_factory=list)
    faults: tuple[Fault, ...] = ()

    def unfinished(self) -> list[Unfinished]:
        """What is not as it should be now."""
        found = [(key, self.objects.find(key)) for key in self.objects.keys()]  # noqa: SIM118 - no mapping
        there = [(key, resource) for key, resource in found if resource is not None]
        return unfinished(there, self.manager.outcomes)

    def moving(self) -> list[ObjectKey]:
        """The objects on which work goes on by itself."""
        return [
            key
            for key in self.objects.keys()  # noqa: SIM118
            if self.manager.queue.is_busy(key) or is_moving(key, self.manager.outcomes.get(key))
        ]

    async def until_settled(self, patience: float) -> None:
        """Returns when no work goes on any more, or when for `patience` seconds all of it was nothing but
        trying again. Raises `Stopped`."""
        tried_since: int | None = None
        while moving := self.moving():
            self.check()
            now = self.manager.clock.now().micros
            trying = all(isinstance(self.manager.outcomes.get(key), Retry) for key in moving)
            tried_since = (tried_since or now) if trying else None
            if tried_since is not None and now - tried_since > patience * 1_000_000:
                return
            await self.manager.clock.sleep(_LOOK_UP)

    async def until_broken(self) -> None:
        """Raises `Stopped` when a part has ended by itself; returns never."""
        while True:
            going = [part for part in self._parts if not part.done()]
            await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
            self.check()

    def check(self) -> None:
        """Raises `Stopped`, chained to why."""
        for part in self._parts:
            if part.done() and not (part.get_name() == _BEGIN and part.exception() is None):
                error = None if part.cancelled() else part.exception()
                raise Stopped(f"local mode cannot go on: {_why(error)}") from error


@asynccontextmanager
async def local_mode(
    state: State, access: AwsAccess, settings: UpSettings, teller: Teller
) -> AsyncIterator[LocalMode]:
    """Works on the folder while the block runs. On leaving, requests under way are answered, runs are halted
    at their next checkpoint, and what was captured is sealed.

    The caller holds `state.locked()`. Raises `CannotServe`.
    """
    async with AsyncExitStack() as stack:
        tools = stack.enter_context(machine(access))
        queue = WorkQueue(tools.clock)

        def changed(key: ObjectKey) -> None:
            manager.changed(key)

        objects = FolderObjects(state, tools.clock, tools.entropy, changed=changed, told=teller.event)
        background = Background(queue.add)
        workshop = Workshop(
            tools.cloud,
            clock=tools.clock,
            entropy=tools.entropy,
            offload=tools.work,
            cache=state.segments,
            wake=queue.add,
            settings=CaptureSettings(max_wait=settings.max_wait),
        )
        workshop.known_by(lambda key: objects.find(key) is not None)
        stack.push_async_callback(_close, workshop, settings)
        stack.push_async_callback(background.close, settings.grace)
        port = settings.port or _port_before(state)
        gateway = await stack.enter_async_context(_served(Gateway(workshop.door), port, settings))
        stack.callback(_halt, background)
        cluster = state.cluster(tools.entropy.hex(12))
        world = World(
            cluster=cluster,
            objects=objects,
            cloud=tools.cloud,
            workshop=workshop,
            background=background,
            runs=InProcessRuns(
                background,
                tools.cloud,
                clock=tools.clock,
                entropy=tools.entropy,
                wake=queue.add,
                # the folder's lock is held: whoever had these leases before has ended
                lease_holder=f"local-mode/{cluster}",
                memory=settings.memory,
            ),
            computations=InProcessComputations(background, memory=settings.memory),
            clock=tools.clock,
            entropy=tools.entropy,
            gateway=gateway,
            loopback=True,
            roles=LocalRights(),
            packages=packages_in(settings.functions, tools.work),
            memory=settings.memory,
            timing=settings.timing,
        )
        manager = Manager(
            objects, objects, reconcilers(world), queue, tools.clock, tools.entropy, settings.backoff
        )
        mode = LocalMode(objects, manager, gateway)
        state.set_up(Up(os.getpid(), gateway, access.endpoint_url, access.region))
        _look(mode, teller)
        parts = [
            asyncio.create_task(manager.take_up(CaptureStream.KIND), name=_BEGIN),
            asyncio.create_task(manager.run(settings.workers), name="manager"),
            asyncio.create_task(_watch(mode, state, settings, teller), name="watch"),
        ]
        mode._parts.extend(parts)
        stack.push_async_callback(_cancelled, parts)
        yield mode


def _look(mode: LocalMode, teller: Teller) -> None:
    """Brings the objects to what the folder says, and tells what is wrong in it where that has changed."""
    synced = mode.objects.sync()
    if synced.faults != mode.faults:
        mode.faults = synced.faults
        teller.faults(synced.faults)


async def _watch(mode: LocalMode, state: State, settings: UpSettings, teller: Teller) -> None:
    """Looks at the folder whenever it changes; and at intervals, for file systems that tell of no changes."""
    folders = [state.directory, state.applied, state.patches]
    async for _ in watchfiles.awatch(
        *folders,
        watch_filter=lambda _, path: is_manifest(Path(path)),
        recursive=False,
        debounce=400,
        step=50,
        rust_timeout=round(settings.timing.resync * 1_000),
        yield_on_timeout=True,
    ):
        _look(mode, teller)


def _port_before(state: State) -> int:
    """The port of the last time, so that addresses stay as they were; 0 where there was none."""
    last = state.up()
    return 0 if last is None else int(last.gateway.rpartition(":")[2])


@asynccontextmanager
async def _served(gateway: Gateway, port: int, settings: UpSettings) -> AsyncIterator[str]:
    """On the port, or on a free one where only the last time's is taken."""
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(
                serving(gateway, HOST, port, settings.grace, closing=gateway.close)
            )
        except CannotServe:
            if settings.port:
                raise
            url = await stack.enter_async_context(
                serving(gateway, HOST, 0, settings.grace, closing=gateway.close)
            )
        yield url


def _halt(background: Background) -> None:
    background.halting = True


async def _cancelled(parts: Sequence[asyncio.Task[None]]) -> None:
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)


async def _close(workshop: Workshop, settings: UpSettings) -> None:
    """Everything that was taken is answered; this process knows all its writes, so that all are sealed."""
    for opened in workshop.opened():
        await opened.capture.close()
        with suppress(PikError, TimeoutError):  # a later pass seals it
            async with asyncio.timeout(settings.grace):
                await seal_segments(opened.stream, settle=0)


def _why(error: BaseException | None) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return "it ended" if error is None else f"{type(error).__name__}: {error}"
