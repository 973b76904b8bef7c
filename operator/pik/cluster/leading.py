"""Who of several replicas works: the holder of a Lease (coordination.k8s.io), as client-go's leader election
does it.

A Lease cannot stop a process that believes it still holds it, only make that unlikely; what keeps such a one
from doing harm are conditional writes in S3 and DynamoDB.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from pik.cluster.api import Api, Object
from pik.cluster.errors import KubeConflict, KubeError, KubeNotFound
from pik.cluster.paths import leases
from pik.domain.errors import PikError
from pik.domain.instants import Instant
from pik.ports.system import Clock

log = logging.getLogger(__name__)

_MICROS = 1_000_000


class LeadershipLost(PikError):
    """Another replica leads, or may: this process has to end what it does."""


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Seconds. `lasts`: of a holder that is silent, before another takes over. `renewed`: between renewals.
    `given_up`: without one, after which the holder stops, well before another begins."""

    lasts: float = 12.0
    renewed: float = 2.0
    given_up: float = 8.0


class Leadership:
    """Belongs to one event loop."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        timing: LeaseTiming | None = None,
    ) -> None:
        """`identity`: of this replica. A process that takes a former one's place, as a pod's restarted
        container does, may have its name, and leads at once: that one has ended."""
        self._api = api
        self._path = leases(namespace)
        self._name = name
        self._identity = identity
        self._clock = clock
        self._timing = timing or LeaseTiming()
        self._lease: Object | None = None  # as last seen
        self._seen = Instant(0)  # when it last changed, by our own clock: no other's is trusted
        self.leads = False

    async def acquire(self) -> None:
        """Returns when this process leads."""
        while not await self._try():
            await self._clock.sleep(self._timing.renewed)
        self.leads = True
        log.info("this replica leads, as %s", self._identity)

    async def keep(self) -> None:
        """Renews until that fails for too long. Raises `LeadershipLost`."""
        renewed = self._clock.now()
        while True:
            await self._clock.sleep(self._timing.renewed)
            if await self._in_time(renewed):
                renewed = self._clock.now()
            elif self._holder() not in ("", self._identity):
                self.leads = False
                raise LeadershipLost(f"{self._holder()} leads now")
            elif _seconds(renewed, self._clock.now()) > self._timing.given_up:
                self.leads = False
                raise LeadershipLost(f"the lease {self._name} could not be renewed")

    async def release(self) -> None:
        """Gives it back, so that another need not wait. Raises nothing: it expires by itself."""
        if not self.leads or self._lease is None:
            return
        self.leads = False
        try:
            await self._write({**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1})
        except KubeError as error:
            log.warning("the lease %s was not released: %s", self._name, error)

    async def _in_time(self, renewed: Instant) -> bool:
        """Tries, for no longer than until the lease has to be given up: an answer that comes later is of no
        use, and until then nothing else would be noticed."""
        left = self._timing.given_up - _seconds(renewed, self._clock.now())
        try:
            async with asyncio.timeout(max(left, self._timing.renewed)):
                return await self._try()
        except TimeoutError:
            log.warning("the lease %s was not answered for in time", self._name)
            return False

    async def _try(self) -> bool:
        """Whether this process holds it now."""
        try:
            self._notice(await self._api.get(f"{self._path}/{self._name}"))
            if self._holder() not in ("", self._identity) and not self._is_expired():
                return False
            await self._write(self._wanted())
        except KubeNotFound:
            return await self._create()
        except KubeConflict:
            return False  # somebody was faster
        except KubeError as error:
            log.warning("the lease %s cannot be looked at: %s", self._name, error)
            return False
        return True

    async def _create(self) -> bool:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": self._wanted(),
        }
        try:
            self._notice(await self._api.create(self._path, body))
        except KubeConflict:
            return False
        except KubeError as error:
            log.warning("the lease %s cannot be made: %s", self._name, error)
            return False
        return True

    async def _write(self, spec: Object) -> None:
        if self._lease is None:
            raise LookupError("a lease is written after it was seen")
        self._notice(await self._api.replace(f"{self._path}/{self._name}", {**self._lease, "spec": spec}))

    def _wanted(self) -> Object:
        now = f"{self._clock.now().text[:26]}Z"
        before: Object = {} if self._lease is None else self._lease["spec"]
        ours = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._timing.lasts),
            "acquireTime": before["acquireTime"] if ours else now,
            "renewTime": now,
            "leaseTransitions": before.get("leaseTransitions", 0) + (0 if ours or not before else 1),
        }

    def _notice(self, lease: Object) -> None:
        version = None if self._lease is None else self._lease["metadata"]["resourceVersion"]
        if lease["metadata"]["resourceVersion"] != version:
            self._seen = self._clock.now()
        self._lease = lease

    def _holder(self) -> str:
        return "" if self._lease is None else str(self._lease["spec"].get("holderIdentity") or "")

    def _is_expired(self) -> bool:
        lasts = 0.0 if self._lease is None else self._lease["spec"].get("leaseDurationSeconds", 0)
        return _seconds(self._seen, self._clock.now()) > lasts


def _seconds(since: Instant, until: Instant) -> float:
    return (until.micros - since.micros) / _MICROS
