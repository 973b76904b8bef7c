"""Events of objects, as `kubectl describe` shows them: the same one again is counted, not repeated."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from pik.api.common import API_VERSION
from pik.api.kinds import AnyResource
from pik.cluster.api import Api
from pik.cluster.errors import KubeError, KubeNotFound
from pik.cluster.paths import events as events_path
from pik.controller.outcome import ObjectEvent
from pik.domain.instants import Instant
from pik.ports.system import Clock, Entropy

log = logging.getLogger(__name__)

_COMPONENT = "pik"
_MESSAGE = 1024  # characters that an Event takes
_REMEMBERED = 4096  # events
_COUNTED_SECONDS = 600.0  # that an event is counted on; later it is a new one, since old ones are removed
_BURST = 25  # events of one object at once, and then one in:
_EVERY_SECONDS = 60.0


@dataclass(slots=True)
class _Told:
    name: str
    count: int
    first: Instant
    last: Instant


@dataclass(slots=True)
class _Budget:
    left: float
    at: Instant


class EventRecorder:
    """Bounded in memory, and for each object in number: a loop that goes wrong does not fill the cluster's
    store. Belongs to one event loop."""

    def __init__(self, api: Api, clock: Clock, entropy: Entropy, instance: str) -> None:
        """`instance`: who reports, such as a pod's name."""
        self._api = api
        self._clock = clock
        self._entropy = entropy
        self._instance = instance
        self._told: OrderedDict[tuple[str, str], _Told] = OrderedDict()
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()

    async def record(self, resource: AnyResource, events: Sequence[ObjectEvent]) -> None:
        """Raises nothing: an event that cannot be written is logged, and the pass goes on."""
        for event in events:
            try:
                await self._one(resource, event)
            except KubeError as error:
                log.warning("event %s of %s: %s", event.reason, resource.metadata.name, error)

    async def _one(self, resource: AnyResource, event: ObjectEvent) -> None:
        now = self._clock.now()
        uid = resource.metadata.uid or ""
        digest = sha256(f"{event.type}\0{event.reason}\0{event.message}".encode()).hexdigest()
        told = self._told.get((uid, digest))
        if not self._affords(uid, now):
            return
        if told is not None and _seconds(told.last, now) < _COUNTED_SECONDS:
            told.count += 1
            told.last = now
            again = {"count": told.count, "lastTimestamp": _stamp(now)}
            try:
                await self._api.patch(f"{events_path(resource.metadata.namespace)}/{told.name}", again)
                return
            except KubeNotFound:
                pass  # it was removed: a new one
        told = _Told(f"{resource.metadata.name[:200]}.{self._entropy.hex(16)}", 1, now, now)
        self._told[uid, digest] = told
        self._told.move_to_end((uid, digest))
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        await self._api.create(events_path(resource.metadata.namespace), self._event(resource, event, told))

    def _affords(self, uid: str, now: Instant) -> bool:
        budget = self._budgets.setdefault(uid, _Budget(_BURST, now))
        self._budgets.move_to_end(uid)
        while len(self._budgets) > _REMEMBERED:
            self._budgets.popitem(last=False)
        budget.left = min(_BURST, budget.left + _seconds(budget.at, now) / _EVERY_SECONDS)
        budget.at = now
        if budget.left < 1:
            return False
        budget.left -= 1
        return True

    def _event(self, resource: AnyResource, event: ObjectEvent, told: _Told) -> dict[str, object]:
        meta = resource.metadata
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": told.name, "namespace": meta.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": resource.KIND,
                "namespace": meta.namespace,
                "name": meta.name,
                "uid": meta.uid,
                "resourceVersion": meta.resourceVersion,
            },
            "type": event.type.value,
            "reason": event.reason,
            "message": event.message[:_MESSAGE],
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "reportingInstance": self._instance,
            "firstTimestamp": _stamp(told.first),
            "lastTimestamp": _stamp(told.last),
            "count": told.count,
        }


def _seconds(since: Instant, until: Instant) -> float:
    return (until.micros - since.micros) / 1_000_000


def _stamp(moment: Instant) -> str:
    return f"{moment.text[:19]}Z"
