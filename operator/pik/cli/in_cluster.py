"""A cluster: its objects, and a desk at it, with the rights and the AWS credentials of whoever asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pik.api.capture_stream import CaptureStream
from pik.api.common import Resource
from pik.api.manifests import Manifest
from pik.api.violations import InvalidManifest
from pik.cli.desk import Desk
from pik.cli.shelf import Applied, Census, Item, NotAdmitted, Seen, StillHeld, one_of
from pik.cli.where import InCluster
from pik.cluster.api import Object
from pik.cluster.console import last_seen, managers, times_seen
from pik.cluster.errors import KubeDenied, KubeInvalid
from pik.cluster.session import Session, session
from pik.controller.objects import ObjectKey
from pik.domain.errors import PikError


class NotYourself(PikError):
    """An approval in another's name."""


class ClusterShelf:
    """`cli.shelf.Shelf` over an API server."""

    pause = 0.5
    worker = "does the operator run?"

    def __init__(self, at: Session, where: InCluster) -> None:
        self.console = at.console
        self._at = at
        self._asked = where.namespace
        self._namespace = None if where.everywhere else at.namespace

    @property
    def place(self) -> str:
        return f"{self._scope} of {self._cluster}"

    def idle(self) -> str:
        return ""

    async def items(self, kind: type[Resource]) -> list[Item]:
        return [self._item(one) for one in await self.console.objects(kind, self._namespace)]

    async def look(self, kind: type[Resource], name: str) -> Item | None:
        namespace, slash, plain = name.rpartition("/")
        if not slash and self._namespace is None:
            return one_of(await self.items(kind), kind, name)
        found = await self.console.find(ObjectKey(kind.KIND, namespace or self._at.namespace, plain))
        return None if found is None else self._item(found)

    async def events(self, item: Item) -> list[Seen]:
        try:
            found = await self.console.events(item.manifest)
        except KubeDenied as error:
            return [Seen("", "NotShown", str(error), 1, item.manifest["metadata"]["creationTimestamp"])]
        return [
            Seen(
                event.get("type", ""),
                event.get("reason", ""),
                event.get("message", ""),
                times_seen(event),
                last_seen(event),
            )
            for event in found
        ]

    async def approve(self, item: Item, plan: str, by: str | None) -> str:
        """Raises `NotYourself`, `NotAllowed` and `MadeAnew`."""
        user = await self.console.user()
        if by not in (None, user):
            raise NotYourself(f"in a cluster everybody approves in their own name: you are {user}, not {by}")
        await self.console.approve(item.manifest, plan, user)
        return user

    async def suspend(self, item: Item) -> None:
        await self.console.suspend(item.manifest)

    async def resume(self, item: Item) -> None:
        there = await self.console.resume(item.manifest)
        if there["spec"].get("suspend"):
            others = " and ".join(managers(there, "spec", "suspend")) or "its manifest"
            raise StillHeld(f"{item.key} stays suspended: {others} says so, and not `pik suspend`")

    async def apply(self, manifest: Manifest) -> Applied:
        from pik.api.validation import admit  # which takes a while to import

        value = _in_namespace(manifest.value, self._at.namespace)
        try:
            admit(value)  # for the place of what is wrong; the API server decides
        except InvalidManifest as error:
            raise NotAdmitted("; ".join(map(str, error.violations))) from error
        key = ObjectKey(value["kind"], value["metadata"]["namespace"], value["metadata"]["name"])
        before = await self.console.find(key)
        try:
            after = await self.console.apply(value)
        except KubeInvalid as error:
            raise NotAdmitted(str(error)) from error
        if before is None:
            return Applied(key, "created")
        versions = {one["metadata"]["resourceVersion"] for one in (before, after)}
        return Applied(key, "unchanged" if len(versions) == 1 else "configured")

    async def census(self) -> Census:
        """Of all namespaces, where the person may look at them: another one's stream may have what seems to
        be nobody's."""
        try:
            found = await self.console.objects(CaptureStream, None)
        except KubeDenied:
            own = await self.console.objects(CaptureStream, self._at.namespace)
            return Census([self._item(one) for one in own], None, self._at.namespace)
        return Census([self._item(one) for one in found], None, self._asked)

    async def standing(self) -> tuple[dict[str, Any], Sequence[str]]:
        user = await self.console.user()
        document = {
            "context": self._at.context,
            "server": self._at.server,
            "namespace": self._namespace,
            "user": user,
        }
        return document, (f"cluster: {self._at.server}, as {user}", f"looking at {self.place}")

    @property
    def _cluster(self) -> str:
        return "this cluster" if self._at.context is None else f"the context {self._at.context}"

    @property
    def _scope(self) -> str:
        return "all namespaces" if self._namespace is None else f"namespace {self._namespace}"

    def _item(self, there: Object) -> Item:
        meta = {name: value for name, value in there["metadata"].items() if name != "managedFields"}
        who = ", ".join(managers(there)) or "nobody known"
        # pydantic, yaml and json all print what comes first: what it is
        head = {"apiVersion": there["apiVersion"], "kind": there["kind"], "metadata": meta}
        return Item({**head, **{name: there[name] for name in there if name not in head}}, f"set by {who}")


@asynccontextmanager
async def cluster_shelf(where: InCluster) -> AsyncIterator[ClusterShelf]:
    with session(where.kubeconfig, where.context, where.namespace) as at:
        yield ClusterShelf(at, where)


@asynccontextmanager
async def cluster_desk(where: InCluster, endpoint_url: str | None) -> AsyncIterator[Desk]:
    """Streams are read where their status places them. What is read of them goes with the block: no copy of
    a cluster's events stays on the machine that asked."""
    from pik.aws.clients import AwsAccess
    from pik.controller.roles import OwnRights
    from pik.controller.workshop import Workshop
    from pik.local.machine import machine

    async with cluster_shelf(where) as shelf:
        access = AwsAccess(endpoint_url=endpoint_url)
        with machine(access, OwnRights()) as tools, TemporaryDirectory("pik") as cache:
            workshop = Workshop(
                tools.cloud,
                clock=tools.clock,
                entropy=tools.entropy,
                offload=tools.work,
                cache=Path(cache),
                wake=lambda _: None,
            )
            try:
                yield Desk(
                    shelf,
                    tools.cloud,
                    workshop,
                    tools.clock,
                    tools.entropy,
                    tools.work,
                    cluster=shelf.console,
                    inventory=tools.cloud.inventory,
                    endpoint=endpoint_url,
                )
            finally:
                for stream in workshop.opened():
                    await stream.capture.close()


def _in_namespace(manifest: Object, namespace: str) -> Object:
    return {**manifest, "metadata": {"namespace": namespace, **manifest["metadata"]}}
