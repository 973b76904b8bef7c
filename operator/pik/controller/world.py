"""What a pass sees besides its object."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pik.controller.background import Background
from pik.controller.cloud import Cloud
from pik.controller.objects import Objects
from pik.controller.observers import Nobody, StreamObserver
from pik.controller.packages import NoPackages
from pik.controller.roles import NoRoles, Roles
from pik.controller.runs import Computations, Runs
from pik.controller.tenancy import ApprovalGuard, FolderApprovals, Namespaces, UnreadableNamespaces
from pik.controller.workshop import Workshop
from pik.planning.replay.addresses import ForbiddenNetworks
from pik.ports.packages import Packages
from pik.ports.system import Clock, Entropy

_REBUILDS = 4  # of indexes at once
_READINGS = 2  # of objects at once


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds between two of the same, for each stream, and before what did not change is looked at again.

    `counters`: while events arrive; without them ever more seldom, up to `resync`. `first`: between two looks
    for the first event of a stream, where it may come by another process; None where this one's own gateway
    tells of it.
    """

    resync: float = 600.0
    counters: float = 60.0
    first: float | None = None
    seals: float = 300.0
    orphans: float = 3_600.0
    rebuild: float = 60.0  # that somebody else's rebuild of an index may show no sign of life
    settle: float = 60.0  # that a segment may land after its stamp
    deletion: float = 900.0  # that a deletion is tried before what cannot be deleted is left


@dataclass(frozen=True, slots=True)
class Callers:
    """How the gateway can tell who sends. `reviews`: the API server tells it; `tokens`: it has these Secrets,
    each as `namespace/name`."""

    reviews: bool = False
    tokens: frozenset[str] = frozenset()


async def always() -> bool:
    """As of a gateway in this very process."""
    return True


@dataclass(frozen=True, slots=True)
class World:
    """`cluster`: the name of this cluster in owner records. `gateway`: base URL of the gateway, if there is
    one, `gateway_answers`: whether it takes requests now, `callers`: how it can tell who sends.
    `loopback`: whether replays may be sent to this machine, `networks`: where none is sent to besides.
    `roles`: which roles functions may have, and which sources are read. `packages`: the code of functions.
    `in_pods`: whether work is done in pods. `memory`: of one plan, such as `512MB`.
    `reading`: held by whoever reads an object of a source into a stream.
    `rebuilding`: held by whoever builds an index, which reads all of its raw."""

    cluster: str
    objects: Objects
    cloud: Cloud
    workshop: Workshop
    background: Background
    runs: Runs
    computations: Computations
    clock: Clock
    entropy: Entropy
    gateway: str | None = None
    gateway_answers: Callable[[], Awaitable[bool]] = always
    callers: Callers = field(default_factory=Callers)
    loopback: bool = False
    networks: ForbiddenNetworks = ()
    in_pods: bool = False
    approvals: ApprovalGuard = field(default_factory=FolderApprovals)
    namespaces: Namespaces = field(default_factory=lambda: UnreadableNamespaces("there is no cluster"))
    roles: Roles = field(default_factory=NoRoles)
    packages: Packages = field(default_factory=NoPackages)
    memory: str | None = None
    timing: Timing = field(default_factory=Timing)
    observer: StreamObserver = field(default_factory=Nobody)
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_READINGS))
    rebuilding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_REBUILDS))

    def part(self) -> float:
        """A random number from 0 to 1."""
        return int(self.entropy.hex(8), 16) / 0xFFFFFFFF

    def passed(self, since_micros: int | None, seconds: float) -> bool:
        """Whether so many seconds have passed since then; True where there was no then."""
        return since_micros is None or self.clock.now().micros - since_micros >= seconds * 1_000_000
