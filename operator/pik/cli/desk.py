"""What a command works with: the objects of a folder or a cluster, the AWS they lie in, and the streams it
opens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pik.api.capture_stream import CaptureStream
from pik.api.common import Resource
from pik.cli.shelf import OpenShelf, Shelf, find, in_cluster, shelf_at
from pik.cli.where import InFolder, Where, where_options
from pik.domain.errors import NotReady, PikError

if TYPE_CHECKING:
    from pik.cluster.console import Console
    from pik.controller.cloud import Cloud
    from pik.controller.workshop import OpenStream, Workshop
    from pik.execution.stream import Stream
    from pik.ports.inventory import Inventory
    from pik.ports.system import Clock, Entropy, Offload

R = TypeVar("R", bound=Resource)


class NotInACluster(PikError):
    """What a command does for a folder is done in another way in a cluster, which the text says."""


@dataclass(frozen=True, slots=True)
class Desk:
    """`gateway`: base URL of a local mode that serves the folder now. `cluster`: where it is one, for what
    only its operator may do to a stream. `inventory`: what there is in a region that pik has made.
    `endpoint`: of AWS, where that is not AWS itself."""

    shelf: Shelf
    cloud: Cloud
    workshop: Workshop
    clock: Clock
    entropy: Entropy
    offload: Offload
    gateway: str | None = None
    cluster: Console | None = None
    inventory: Callable[[str | None], Inventory] | None = None
    endpoint: str | None = None

    async def all(self, kind: type[R]) -> list[R]:
        """By namespace and name."""
        return [item.read(kind) for item in await self.shelf.items(kind)]

    async def find(self, kind: type[R], name: str) -> R:
        """By `name` or `namespace/name`. Raises `NoSuchResource`."""
        return (await find(self.shelf, kind, name)).read(kind)

    async def open(self, resource: CaptureStream) -> OpenStream:
        """The stream as its status places it. Raises `NotReady` for one that was never provisioned."""
        from pik.controller.workshop import Place

        status = resource.status
        bucket = status.storage and status.storage.bucket
        table = status.index and status.index.table
        if not (status.streamID and bucket and table):
            maker = "`pik up`" if self.cluster is None else "the operator"
            raise NotReady(
                f"CaptureStream {resource.metadata.namespace}/{resource.metadata.name} has no bucket and "
                f"table yet: {maker} makes them"
            )
        return await self.workshop.open(resource, Place(status.streamID, bucket, table), takes_events=False)

    async def stream(self, name: str) -> Stream:
        """Raises `NoSuchResource` and `NotReady`."""
        return (await self.open(await self.find(CaptureStream, name))).stream


Connect = Callable[[Where, str | None], AbstractAsyncContextManager[Desk]]
"""Makes a desk at a place, with an AWS endpoint."""


@dataclass(frozen=True, slots=True)
class Doors:
    """How commands come to a place. Click's `obj`, so that a test can give its own."""

    desk: Connect
    shelf: OpenShelf


def at_a_desk(work: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A command's callback: `work` runs with a desk, by the options that say where."""

    @click.option(
        "--endpoint-url",
        envvar="AWS_ENDPOINT_URL",
        show_envvar=True,
        metavar="URL",
        help="An AWS emulator, where not the one that `pik up` uses.",
    )
    @where_options
    @click.pass_context
    @wraps(work)
    def command(ctx: click.Context, /, place: Where, endpoint_url: str | None, **given: Any) -> None:
        connect = ctx.obj.desk if isinstance(ctx.obj, Doors) else desk_at

        async def run() -> None:
            async with connect(place, endpoint_url) as desk:
                await work(desk, **given)

        asyncio.run(run())

    return command


def at_a_shelf(work: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A command's callback: `work` runs with the place's objects, and without AWS."""

    @where_options
    @click.pass_context
    @wraps(work)
    def command(ctx: click.Context, /, place: Where, **given: Any) -> None:
        connect = ctx.obj.shelf if isinstance(ctx.obj, Doors) else shelf_at

        async def run() -> None:
            async with connect(place) as shelf:
                await work(shelf, **given)

        asyncio.run(run())

    return command


def folder_of(where: Where, instead: str) -> Path:
    """The folder. Raises `NotInACluster`, with what to do there `instead`."""
    if isinstance(where, InFolder):
        return where.directory
    raise NotInACluster(f"{instead} (a folder is named by -C)")


def desk_at(where: Where, endpoint_url: str | None) -> AbstractAsyncContextManager[Desk]:
    """Raises `NeedsExtra`."""
    if isinstance(where, InFolder):
        from pik.cli.folder import folder_desk

        return folder_desk(where, endpoint_url)
    found: AbstractAsyncContextManager[Desk] = in_cluster().cluster_desk(where, endpoint_url)
    return found
