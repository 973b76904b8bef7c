"""A cluster as the person at the command line has it, with that person's own rights: objects are read, and
the few fields that people set are written, each by a field manager of its own (server-side apply).

So a GitOps controller that applies the same manifest again, which does not name these fields, leaves them as
they are; and a field that is given back is the manifest's again.
"""

from __future__ import annotations

import re
from typing import Any

from pik.api.common import API_VERSION, Resource
from pik.cluster.api import APPLY_PATCH, Api, Object
from pik.cluster.errors import KubeConflict, KubeDenied, KubeInvalid, KubeNotFound
from pik.cluster.listing import list_all
from pik.cluster.objects import key_of_manifest
from pik.cluster.paths import events, object_at, objects_of
from pik.controller.objects import ObjectKey
from pik.domain.errors import PikError

APPROVE = "pik-approve"
SUSPEND = "pik-suspend"
REINDEX = "pik-reindex"
REPLAY = "pik-replay"

_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_POLICY = re.compile(r"ValidatingAdmissionPolicy .* denied request: (?P<why>.*)", re.DOTALL)
_CAUSE = re.compile(r'^\S+ "[^"]*" is (?:invalid|forbidden): ')


class NotInstalled(PikError):
    """The cluster does not know pik's kinds."""


class NotAllowed(PikError):
    """RBAC or an admission policy refuses what a person asked for; the text is its reason."""


class MadeAnew(PikError):
    """Meanwhile another object has the name, or none."""


class Declared(PikError):
    """A field is what another manager, which the text names, says."""


class Console:
    """Raises `KubeUnavailable` and `KubeDenied`, and `NotInstalled` where pik's kinds are not known."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def objects(self, kind: type[Resource], namespace: str | None) -> list[Object]:
        """By namespace and name. `namespace` None: of all."""
        try:
            listed = await list_all(self._api, objects_of(kind.KIND, namespace))
        except KubeNotFound as error:
            raise NotInstalled(
                f"this cluster knows no {kind.KIND}: pik is not installed in it ({error})"
            ) from error
        return sorted(listed.objects, key=key_of_manifest)

    async def find(self, key: ObjectKey) -> Object | None:
        try:
            return await self._api.get(object_at(key))
        except KubeNotFound:
            return None

    async def events(self, there: Object) -> list[Object]:
        """Of one object, the latest last."""
        meta = there["metadata"]
        selector = f"involvedObject.uid={meta['uid']}"
        listed = await list_all(self._api, events(meta["namespace"]), fieldSelector=selector)
        return sorted(listed.objects, key=_order)

    async def user(self) -> str:
        """The name that the API server knows the caller by."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self._api.create(_REVIEW, review)
        return str(answer["status"]["userInfo"]["username"])

    async def approve(self, job: Object, plan: str, by: str) -> Object:
        """Raises `NotAllowed` and `MadeAnew`."""
        return await self._set(job, APPROVE, {"spec": {"approval": {"plan": plan, "by": by}}})

    async def suspend(self, there: Object) -> Object:
        """Raises `NotAllowed` and `MadeAnew`."""
        return await self._set(there, SUSPEND, {"spec": {"suspend": True}})

    async def resume(self, there: Object) -> Object:
        """Gives `spec.suspend` back: the object as it is then, which somebody else may hold. Raises
        `NotAllowed` and `MadeAnew`."""
        return await self._set(there, SUSPEND, {})

    async def annotate(self, there: Object, name: str, value: str) -> Object:
        """For the operator to see. Raises `NotAllowed` and `MadeAnew`."""
        return await self._set(there, REINDEX, {"metadata": {"annotations": {name: value}}})

    async def apply(self, manifest: Object) -> Object:
        """A whole object, in the name of `pik replay`: made, or changed where nobody else declares the same
        fields otherwise. Raises `NotAllowed`, `Declared`, and `KubeInvalid` with every reason."""
        key = key_of_manifest(manifest)
        try:
            return await self._api.patch(object_at(key), manifest, APPLY_PATCH, fieldManager=REPLAY)
        except KubeConflict as error:
            raise Declared(f"{key} is declared by somebody else: {_told(error)}") from error
        except KubeDenied as error:
            raise NotAllowed(_told(error)) from error

    async def _set(self, there: Object, manager: str, fields: dict[str, Any]) -> Object:
        """Forced: whoever set these fields otherwise has to apply them again to have them back. By uid, so
        that nothing is made where the object is gone."""
        key = key_of_manifest(there)
        meta = {
            "namespace": key.namespace,
            "name": key.name,
            "uid": there["metadata"]["uid"],
            **fields.get("metadata", {}),
        }
        body = {"apiVersion": API_VERSION, "kind": key.kind, **fields, "metadata": meta}
        try:
            return await self._api.patch(
                object_at(key), body, APPLY_PATCH, fieldManager=manager, force="true"
            )
        except KubeConflict as error:
            raise MadeAnew(f"{key} has just gone: {error}") from error
        except (KubeDenied, KubeInvalid) as error:
            if "metadata.uid" in str(error):
                raise MadeAnew(f"{key} is another object of this name by now: look at it again") from error
            raise NotAllowed(_told(error)) from error


def _order(event: Object) -> tuple[str, int]:
    """Of one second, which is all that most of them tell, by the order in which they were written."""
    return last_seen(event)[:19], int(event["metadata"]["resourceVersion"])


def last_seen(event: Object) -> str:
    """When it was last seen (RFC 3339): there are two ways to write an event."""
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"]["creationTimestamp"]
    )


def times_seen(event: Object) -> int:
    series = event.get("series") or {}
    return int(series.get("count") or event.get("count") or 1)


def managers(there: Object, *path: str) -> list[str]:
    """Who sets a field (of `managedFields`), or anything of the object but its status."""
    found = []
    for entry in there["metadata"].get("managedFields", []):
        fields: Any = entry.get("fieldsV1", {})
        for step in path:
            fields = fields.get(f"f:{step}") if isinstance(fields, dict) else None
        if fields is not None and entry.get("subresource") != "status":
            found.append(str(entry["manager"]))
    return sorted(set(found))


def _told(error: Exception) -> str:
    """The reason alone, of an answer that begins with what was refused."""
    text = str(error)
    denied = _POLICY.search(text)
    return denied["why"] if denied else _CAUSE.sub("", text)
