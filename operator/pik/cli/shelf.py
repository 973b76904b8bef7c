"""The objects of one place, a folder or a cluster, as commands read and change them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
import pydantic

from pik.api.common import Resource
from pik.api.kinds import KINDS, AnyResource
from pik.api.manifests import Manifest
from pik.cli.where import InFolder, Where
from pik.controller.objects import ObjectKey
from pik.domain.errors import PikError

R = TypeVar("R", bound=Resource)


class NoSuchResource(PikError):
    """There is no object of this name, or there are several; the text says which there are."""


class NotAdmitted(PikError):
    """An object is refused as an API server refuses it; the text has every reason."""


class NeedsExtra(PikError):
    """A package is not installed, which only some uses need."""


class NotUnderstood(PikError):
    """An object was admitted by another version's schema, and this one cannot read it."""


class Item(msgspec.Struct, frozen=True):
    """An object as it is stored. `source`: who or what declares it."""

    manifest: dict[str, Any]
    source: str

    @property
    def key(self) -> ObjectKey:
        meta = self.manifest["metadata"]
        return ObjectKey(self.manifest["kind"], meta["namespace"], meta["name"])

    @property
    def uid(self) -> str:
        return str(self.manifest["metadata"]["uid"])

    @property
    def conditions(self) -> list[dict[str, Any]]:
        conditions: list[dict[str, Any]] = self.manifest.get("status", {}).get("conditions", [])
        return conditions

    def read(self, kind: type[R]) -> R:
        """The typed object. Raises `NotUnderstood`."""
        try:
            found = kind.from_manifest(self.manifest)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise NotUnderstood(
                f"{self.key} is not what this version of pik understands: {where}: {first['msg']}"
            ) from error

        return found

    @property
    def resource(self) -> AnyResource:
        """Raises `NotUnderstood`."""
        return self.read(KINDS[self.manifest["kind"]])


class Seen(NamedTuple):
    """An event of an object and how often it was seen."""

    type: str
    reason: str
    message: str
    times: int
    last: str  # RFC 3339, UTC


class Applied(NamedTuple):
    """`change`: created, configured or unchanged."""

    key: ObjectKey
    change: str


class Census(NamedTuple):
    """The CaptureStreams of a whole cluster. `cluster`: its name in owner records, where that is known
    without them. `namespace`: the only one that is asked about, or that may be looked at; None: all."""

    streams: Sequence[Item]
    cluster: str | None
    namespace: str | None


class Shelf(Protocol):
    """`place`: what a person calls it. `pause`: seconds between two looks at it that are not too many.

    All raise `NoState` for a folder that no `pik up` has worked on, and `KubeError` for a cluster.
    """

    @property
    def place(self) -> str: ...

    @property
    def pause(self) -> float: ...

    @property
    def worker(self) -> str:
        """Who is to work on the objects, as a question whether somebody does."""
        ...

    def idle(self) -> str:
        """What to tell where nobody works on them now, as far as is known; else nothing."""
        ...

    async def items(self, kind: type[Resource]) -> Sequence[Item]:
        """By namespace and name."""
        ...

    async def look(self, kind: type[Resource], name: str) -> Item | None:
        """By `name` or `namespace/name`; None where there is none. Raises `NoSuchResource` for several."""
        ...

    async def events(self, item: Item) -> Sequence[Seen]:
        """The latest last."""
        ...

    async def approve(self, item: Item, plan: str, by: str | None) -> str:
        """Writes the approval of the plan; returns in whose name. `by` None: the person's own."""
        ...

    async def suspend(self, item: Item) -> None: ...

    async def resume(self, item: Item) -> None:
        """Raises `StillHeld` where something else holds it."""
        ...

    async def apply(self, manifest: Manifest) -> Applied:
        """Makes or changes an object. Raises `NotAdmitted`."""
        ...

    async def census(self) -> Census: ...

    async def standing(self) -> tuple[dict[str, Any], Sequence[str]]:
        """Who is at work here: for programs, and as sentences."""
        ...


class StillHeld(PikError):
    """An object is suspended by somebody else, whom the text names."""


async def find(shelf: Shelf, kind: type[Resource], name: str) -> Item:
    """By `name` or `namespace/name`. Raises `NoSuchResource`, which says what there is."""
    found = await shelf.look(kind, name)
    if found is not None:
        return found
    there = [full_name(item) for item in await shelf.items(kind)]
    raise NoSuchResource(
        f"there is no {kind.KIND} {name} in {shelf.place} (there is: {', '.join(there) or 'none'})"
    )


def one_of(items: Sequence[Item], kind: type[Resource], name: str) -> Item | None:
    """By `name` or `namespace/name`. Raises `NoSuchResource` for several."""
    found = [item for item in items if name in (item.key.name, full_name(item))]
    if len(found) > 1:
        named = " and ".join(map(full_name, found))
        raise NoSuchResource(f"which {kind.KIND}: {named}? Give namespace/name")
    return found[0] if found else None


def full_name(item: Item) -> str:
    return f"{item.key.namespace}/{item.key.name}"


class OpenShelf(Protocol):
    def __call__(self, where: Where) -> AbstractAsyncContextManager[Shelf]: ...


def shelf_at(where: Where) -> AbstractAsyncContextManager[Shelf]:
    """Imports what it needs, and no more. Raises `NeedsExtra`."""
    if isinstance(where, InFolder):
        from pik.cli.folder import folder_shelf

        return folder_shelf(where)
    found: AbstractAsyncContextManager[Shelf] = in_cluster().cluster_shelf(where)
    return found


def in_cluster() -> ModuleType:
    """`pik.cli.in_cluster`. Raises `NeedsExtra`."""
    try:
        return import_module("pik.cli.in_cluster")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "kubernetes":
            raise
        raise NeedsExtra(
            "a cluster is asked by the package `kubernetes`, which is not here: "
            "pip install 'pipeline-investigation-kit[operator]' (a folder is named by -C)"
        ) from error
