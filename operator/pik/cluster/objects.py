"""The objects of a cluster as reconcilers and their manager see them: a cache that watches fill, and the
writes of a pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pydantic

from pik.api.common import API_VERSION
from pik.api.kinds import KINDS, AnyResource
from pik.cluster.api import Api, Object
from pik.cluster.errors import KubeConflict, KubeNotFound
from pik.cluster.events import EventRecorder
from pik.cluster.listing import list_all
from pik.cluster.paths import object_at, objects_of, status_at
from pik.controller.objects import ObjectKey, key_of
from pik.controller.outcome import AnyStatus, ObjectEvent

log = logging.getLogger(__name__)

FINALIZER = "pik.dev/storage"
"""On objects whose deletion removes what they hold, until that is done."""

_MANAGER = "pik-operator"  # of fields, as kubectl shows them
_TRIES = 3  # of a status whose object was changed in between


@dataclass(frozen=True, slots=True)
class _Known:
    """`body`: the object as JSON without managedFields, a fraction of what it takes as objects in memory.
    `aspects`: what a change of has to be looked at."""

    uid: str
    version: int
    generation: int
    aspects: int
    body: bytes


class ClusterObjects:
    """`controller.objects.Objects` and `ObjectWriter` over an API server. `changed` is told of every object
    that was created, changed but for its status, or deleted. Belongs to one event loop."""

    def __init__(self, api: Api, events: EventRecorder, *, changed: Callable[[ObjectKey], None]) -> None:
        self._api = api
        self._events = events
        self._changed = changed
        self._known: dict[ObjectKey, _Known] = {}

    # what is known

    def find(self, key: ObjectKey) -> AnyResource | None:
        known = self._known.get(key)
        return None if known is None else _typed(key, known.body)

    def keys(self) -> Sequence[ObjectKey]:
        return sorted(self._known)

    def generation(self, key: ObjectKey) -> int | None:
        """The newest generation that is known of; None for an object that is not."""
        known = self._known.get(key)
        return None if known is None else known.generation

    def uid(self, key: ObjectKey) -> str | None:
        known = self._known.get(key)
        return None if known is None else known.uid

    # what watches tell

    def seen(self, given: Object) -> None:
        """The object is there, in this state. An older state than is known is nothing new."""
        key, new = key_of_manifest(given), _known(given)
        old = self._known.get(key)
        if old is not None and old.uid == new.uid and old.version >= new.version:
            return
        self._known[key] = new
        if old is None or (old.uid, old.aspects) != (new.uid, new.aspects):
            self._changed(key)

    def gone(self, given: Object) -> None:
        """The object was deleted. Another one of its name, that is known already, stays."""
        key = key_of_manifest(given)
        old = self._known.get(key)
        if old is not None and old.uid == given["metadata"]["uid"]:
            del self._known[key]
            self._changed(key)

    # writes of passes

    async def write_status(self, resource: AnyResource, status: AnyStatus) -> None:
        """By the object's resourceVersion, so that it never covers what this pass has not seen; once more
        where only something else of the object was changed meanwhile. Raises what `Api` does."""
        new, before = status.to_manifest(), resource.status.to_manifest()
        if new == before:
            return
        key, version = key_of(resource), resource.metadata.resourceVersion
        for _ in range(_TRIES):
            meta = {
                "namespace": key.namespace,
                "name": key.name,
                "uid": resource.metadata.uid,
                "resourceVersion": version,
            }
            body = {**_head(resource), "metadata": meta, "spec": resource.spec.to_manifest(), "status": new}
            try:
                answer = await self._api.replace(status_at(key), body, fieldManager=_MANAGER)
            except KubeNotFound:
                return
            except KubeConflict:
                there = await self._there(resource)
                if there is None:
                    return
                if type(resource.status).model_validate(there.get("status", {})) != resource.status:
                    break  # another pass was here: what is known of it is looked at anew
                version = there["metadata"]["resourceVersion"]
            else:
                self.seen(answer)
                return
        self._changed(key)

    async def record(self, resource: AnyResource, events: Sequence[ObjectEvent]) -> None:
        await self._events.record(resource, events)

    async def delete(self, resource: AnyResource) -> None:
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": resource.metadata.uid},
        }
        try:
            await self._api.delete(object_at(key_of(resource)), options)
        except (KubeNotFound, KubeConflict):
            return  # it is gone, or another one has its name

    async def hold(self, resource: AnyResource, *, held: bool) -> bool:
        if (FINALIZER in resource.metadata.finalizers) == held:
            return True
        await self._set_finalizer(resource, held=held)
        return False

    async def finalized(self, resource: AnyResource) -> bool:
        return FINALIZER not in resource.metadata.finalizers or await self._set_finalizer(
            resource, held=False
        )

    async def _set_finalizer(self, resource: AnyResource, *, held: bool) -> bool:
        """Whether that is done, or there is nothing any more to do it to."""
        others = [name for name in resource.metadata.finalizers if name != FINALIZER]
        meta: dict[str, Any] = {
            "uid": resource.metadata.uid,
            "resourceVersion": resource.metadata.resourceVersion,  # the list is written as a whole
            "finalizers": [*others, FINALIZER] if held else others,
        }
        key = key_of(resource)
        try:
            await self._api.patch(object_at(key), {"metadata": meta}, fieldManager=_MANAGER)
        except KubeNotFound:
            return True
        except KubeConflict:
            self._changed(key)  # the watch has brought, or will bring, what it is now
            return False
        return True

    async def _there(self, resource: AnyResource) -> Object | None:
        """The same object as it is now; None where it is gone, or another one of its name is there."""
        key = key_of(resource)
        # a list of one, so that the right to list, which a cache needs anyway, is enough
        found = await list_all(
            self._api, objects_of(key.kind, key.namespace), fieldSelector=f"metadata.name={key.name}"
        )
        return next((one for one in found.objects if one["metadata"]["uid"] == resource.metadata.uid), None)


def key_of_manifest(given: Object) -> ObjectKey:
    meta = given["metadata"]
    return ObjectKey(given["kind"], meta["namespace"], meta["name"])


def _head(resource: AnyResource) -> dict[str, str]:
    return {"apiVersion": API_VERSION, "kind": resource.KIND}


def _known(given: Object) -> _Known:
    meta = {name: value for name, value in given["metadata"].items() if name != "managedFields"}
    status = given.get("status")
    aspects = {name: value for name, value in meta.items() if name != "resourceVersion"}
    return _Known(
        uid=meta["uid"],
        version=int(meta["resourceVersion"]),
        generation=meta.get("generation", 0),
        # the spec changes with the generation only
        aspects=hash(orjson.dumps(aspects, option=orjson.OPT_SORT_KEYS)),
        body=orjson.dumps({"metadata": meta, "spec": given["spec"], "status": status or {}}),
    )


def _typed(key: ObjectKey, body: bytes) -> AnyResource | None:
    try:
        return KINDS[key.kind].from_manifest(orjson.loads(body))
    except pydantic.ValidationError as error:
        # the API server admitted it by another version's schema: nothing can be said of it
        log.error("%s is not what this version of pik understands: %s", key, error)  # noqa: TRY400
        return None
