"""What a command works with: the objects of a folder, the AWS they lie in, and the streams it opens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from pik.api.capture_stream import CaptureStream
from pik.api.kinds import AnyResource
from pik.cli.main import DIRECTORY
from pik.controller.cloud import Cloud
from pik.controller.objects import ObjectKey
from pik.controller.workshop import OpenStream, Place, Workshop
from pik.domain.errors import NotReady, PikError
from pik.execution.stream import Stream
from pik.ports.system import Clock, Entropy, Offload

R = TypeVar("R", bound=AnyResource)


class NoSuchResource(PikError):
    """The folder has no object of this name, or several; the text says which there are."""


@dataclass(frozen=True, slots=True)
class Desk:
    """`gateway`: base URL of a local mode that serves this folder now."""

    resources: Mapping[ObjectKey, AnyResource]
    cloud: Cloud
    workshop: Workshop
    clock: Clock
    entropy: Entropy
    offload: Offload
    gateway: str | None = None

    def all(self, kind: type[R]) -> list[R]:
        """By namespace and name."""
        found = [self.resources[key] for key in sorted(self.resources)]
        return [resource for resource in found if isinstance(resource, kind)]

    def find(self, kind: type[R], name: str) -> R:
        """By `name` or `namespace/name`. Raises `NoSuchResource`."""
        there = self.all(kind)
        matching = [resource for resource in there if name in (resource.metadata.name, _full_name(resource))]
        if len(matching) == 1:
            return matching[0]
        if matching:
            named = " and ".join(map(_full_name, matching))
            raise NoSuchResource(f"which {kind.KIND}: {named}? Give namespace/name")
        known = ", ".join(map(_full_name, there)) or "none"
        raise NoSuchResource(
            f"there is no {kind.KIND} {name} here (there is: {known}); --dir names the folder"
        )

    async def open(self, resource: CaptureStream) -> OpenStream:
        """The stream as its status places it. Raises `NotReady` for one that was never provisioned."""
        status = resource.status
        bucket = status.storage and status.storage.bucket
        table = status.index and status.index.table
        if not (status.streamID and bucket and table):
            raise NotReady(
                f"CaptureStream {_full_name(resource)} has no bucket and table yet: `pik up` makes them"
            )
        return await self.workshop.open(resource, Place(status.streamID, bucket, table), takes_events=False)

    async def stream(self, name: str) -> Stream:
        """Raises `NoSuchResource` and `NotReady`."""
        return (await self.open(self.find(CaptureStream, name))).stream


Connect = Callable[[Path, str | None], AbstractAsyncContextManager[Desk]]
"""Makes a desk of a folder and an endpoint. Click's `obj`, so that a test can give its own."""


dir_option = click.option(
    "-C",
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=lambda: click.get_current_context().meta.get(DIRECTORY, Path()),
    show_default="PIK_DIR, or the current one",
    help="Folder that `pik up` reconciles; may stand before the command too.",
)


def at_a_desk(work: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A command's callback: `work` runs with a desk, by the options that say where."""

    @dir_option
    @click.option(
        "--endpoint-url",
        envvar="AWS_ENDPOINT_URL",
        show_envvar=True,
        metavar="URL",
        help="An AWS emulator, where not the one that `pik up` uses.",
    )
    @click.pass_context
    @wraps(work)
    def command(ctx: click.Context, /, directory: Path, endpoint_url: str | None, **given: Any) -> None:
        connect: Connect = ctx.obj or _connect()

        async def run() -> None:
            async with connect(directory, endpoint_url) as desk:
                await work(desk, **given)

        asyncio.run(run())

    return command


def _full_name(resource: AnyResource) -> str:
    return f"{resource.metadata.namespace}/{resource.metadata.name}"


def _connect() -> Connect:
    from pik.cli.folder import opened

    return opened
