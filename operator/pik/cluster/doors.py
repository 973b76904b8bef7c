"""Which streams a gateway has open: those of the CaptureStreams that it watches, where their status says.

Nothing is set up here. The operator makes bucket and table, and says in the status that they are there; the
write protocol itself tells whether the index can decide now, so that neither a stale status nor an operator
that is away keeps events out.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

import orjson
import pydantic

from pik.api.capture_stream import CaptureStream
from pik.api.common import Toggle
from pik.api.conditions import ConditionType, Reason, condition_of
from pik.cluster.api import Object
from pik.controller.cloud import Cloud
from pik.controller.faults import STALLED_AGAIN
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Backoff
from pik.controller.queue import WorkQueue
from pik.controller.workshop import Place, Workshop
from pik.domain.errors import DataLost, OwnershipConflict, PikError
from pik.execution.ownership import Claimant, read_owner
from pik.ports.system import Clock, Entropy

log = logging.getLogger(__name__)

_BACKOFF = Backoff(first=1.0, longest=60.0)
_DOUBTED = 2.0  # seconds from a conflict of owners to the look at who owns it now
_WORKERS = 16
_LOST = frozenset(
    {
        *(Reason.DATA_LOST, Reason.OWNERSHIP_CONFLICT, Reason.BUCKET_TAKEN, Reason.BUCKET_NOT_FOUND),
        *(Reason.INVALID_SPEC, Reason.ROLE_NOT_ALLOWED),
    }
)
"""Reasons to be Stalled by which the place is not this stream's, or not one that it may use."""


class DoorState(StrEnum):
    """Open: events are taken. Suspended and Disabled: the spec says so; what is stored can still be read, to
    judge whether an arrival is a replay. NotReady: there is nothing to write to yet."""

    OPEN = "Open"
    SUSPENDED = "Suspended"
    DISABLED = "Disabled"
    NOT_READY = "NotReady"


class Wanted(NamedTuple):
    """`place`: without an epoch; None where there is none yet."""

    state: DoorState
    place: Place | None


def wanted(resource: CaptureStream) -> Wanted:
    """What a CaptureStream wants of a gateway, by its spec and status."""
    spec, status = resource.spec, resource.status
    state = DoorState.OPEN
    if spec.ingest.gateway is Toggle.DISABLED:
        state = DoorState.DISABLED
    elif spec.suspend:
        state = DoorState.SUSPENDED
    stalled = condition_of(status.conditions, ConditionType.STALLED)
    bucket = None if status.storage is None else status.storage.bucket
    table = None if status.index is None else status.index.table
    lost = stalled is not None and stalled.reason in _LOST
    if lost or status.streamID is None or bucket is None or table is None:
        return Wanted(DoorState.NOT_READY if state is DoorState.OPEN else state, None)
    return Wanted(state, Place(status.streamID, bucket, table))


class DoorKeeper:
    """Opens, changes and closes streams as their objects change. Belongs to one event loop.

    `cluster`: the name of this cluster in owner records. `forgotten`: is told of a stream that is gone.
    """

    def __init__(
        self,
        workshop: Workshop,
        cloud: Cloud,
        cluster: str,
        *,
        clock: Clock,
        entropy: Entropy,
        forgotten: Callable[[ObjectKey], None],
    ) -> None:
        self._workshop = workshop
        self._cloud = cloud
        self._cluster = cluster
        self._entropy = entropy
        self._forgotten = forgotten
        self._queue = WorkQueue(clock)
        self._known: dict[ObjectKey, bytes] = {}  # as JSON, a fraction of what objects take in memory
        self._states: dict[ObjectKey, DoorState] = {}
        self._failures: Counter[ObjectKey] = Counter()
        self._doubted: set[ObjectKey] = set()
        self._is_synced: Callable[[], bool] = lambda: False
        workshop.known_by(self._is_expected)

    # what watches tell

    def synced_by(self, is_synced: Callable[[], bool]) -> None:
        """Says whether all of them have listed what there is."""
        self._is_synced = is_synced

    def listed(self, namespace: str | None, objects: Sequence[Object]) -> None:
        """All of a namespace, or of the cluster."""
        there = set(map(_key, objects))
        for key in self._known.keys() - there:
            if namespace in (None, key.namespace):
                self._drop(key)
        for given in objects:
            self.seen(given)

    def seen(self, given: Object) -> None:
        key = _key(given)
        meta = {name: value for name, value in given["metadata"].items() if name != "managedFields"}
        body = {"metadata": meta, "spec": given["spec"], "status": given.get("status") or {}}
        self._known[key] = orjson.dumps(body)
        self._failures.pop(key, None)
        self._queue.add(key)

    def gone(self, given: Object) -> None:
        self._drop(_key(given))

    def doubt(self, key: ObjectKey) -> None:
        """Somebody else owned the stream when it was written to: who does is to be looked at."""
        if key in self._known and key not in self._doubted:
            self._doubted.add(key)
            self._queue.add_after(key, _DOUBTED)

    # what is known

    def states(self) -> Counter[DoorState]:
        return Counter(self._states.values())

    def faults(self) -> list[str]:
        """Why it cannot be said yet which streams there are; none from then on."""
        if not self._is_synced():
            return ["the CaptureStreams have not been listed yet"]
        unopened = len(self._known.keys() - self._states.keys())
        return [f"{unopened} streams have not been looked at yet"] if unopened else []

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_WORKERS):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            key = await self._queue.take()
            try:
                await self._look(key)
            finally:
                self._queue.done(key)

    async def _look(self, key: ObjectKey) -> None:
        resource = self._find(key)
        if resource is None or resource.metadata.deletionTimestamp is not None:
            # what is being deleted takes nothing more: its bucket may be next
            await self._workshop.close(key)
            if key in self._known:
                self._states[key] = DoorState.NOT_READY
            return
        try:
            self._states[key] = await self._open(key, resource)
            self._failures.pop(key, None)
        except PikError as error:
            final = isinstance(error, OwnershipConflict | DataLost)
            if final:
                await self._workshop.close(key)
            # where AWS is away, what is open stays so, and answers 503 by itself
            if self._workshop.find(key) is None:
                self._states[key] = DoorState.NOT_READY
            self._try_again(key, error, STALLED_AGAIN if final else None)
        except Exception as error:  # what lies in one tenant's bucket must not end everybody's gateway
            log.exception("%s cannot be opened", key)
            self._states.setdefault(key, DoorState.NOT_READY)
            self._try_again(key, error, STALLED_AGAIN)

    def _try_again(self, key: ObjectKey, error: Exception, wait: float | None) -> None:
        if wait is None:
            self._failures[key] += 1
            part = int(self._entropy.hex(8), 16) / 0xFFFFFFFF
            wait = _BACKOFF.wait(self._failures[key], part)
        log.warning("%s cannot be opened, and is tried again in %.0f s: %s", key, wait, error)
        self._queue.add_after(key, wait)

    async def _open(self, key: ObjectKey, resource: CaptureStream) -> DoorState:
        state, place = wanted(resource)
        if place is None:
            await self._workshop.close(key)
            return state
        opened = self._workshop.find(key)
        epoch = None if opened is None else opened.place.epoch
        same = opened is not None and replace(opened.place, epoch=None) == place
        if state is DoorState.OPEN and (not same or epoch is None or key in self._doubted):
            epoch = await self._epoch(resource, place)
            self._doubted.discard(key)
        elif not same:
            epoch = None  # of a reader, who needs none
        await self._workshop.open(
            resource, replace(place, epoch=epoch), takes_events=state is not DoorState.DISABLED
        )
        return state

    async def _epoch(self, resource: CaptureStream, place: Place) -> int:
        """The owner record's, which must name this very object, as the status does."""
        meta, storage, told = resource.metadata, resource.spec.storage, resource.status.storage
        us = Claimant(self._cluster, meta.namespace, meta.name)
        record = await read_owner(
            self._cloud.of(resource).objects(place.bucket, storage), f"{storage.prefix}/"
        )
        if record is None:
            raise DataLost(f"{place.bucket} has no owner record under {storage.prefix}/")
        if record.claimant != us or record.stream_id != place.stream_id:
            raise OwnershipConflict(
                f"{place.bucket}/{storage.prefix} belongs to {record.claimant} (stream {record.stream_id}), "
                f"and this is {us} (stream {place.stream_id})"
            )
        if told is None or told.owner != str(us):
            raise OwnershipConflict(f"the status names {told and told.owner} as the owner, and this is {us}")
        return record.epoch

    def _is_expected(self, key: ObjectKey) -> bool:
        """Whether the stream takes events over HTTP, though perhaps not now; or may do, for all we know."""
        if key in self._states:
            return self._states[key] is not DoorState.DISABLED
        return key in self._known or not self._is_synced()

    def _find(self, key: ObjectKey) -> CaptureStream | None:
        body = self._known.get(key)
        if body is None:
            return None
        try:
            return CaptureStream.from_manifest(orjson.loads(body))
        except pydantic.ValidationError as error:
            # the API server admitted it by another version's schema: nothing can be said of it
            log.error("%s is not what this version of pik understands: %s", key, error)  # noqa: TRY400
            return None

    def _drop(self, key: ObjectKey) -> None:
        self._known.pop(key, None)
        self._states.pop(key, None)
        self._failures.pop(key, None)
        self._doubted.discard(key)
        self._forgotten(key)
        self._queue.add(key)


def _key(given: Object) -> ObjectKey:
    meta = given["metadata"]
    return ObjectKey(CaptureStream.KIND, meta["namespace"], meta["name"])
