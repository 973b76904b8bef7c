"""A folder that `pik up` reconciles, or has reconciled: its objects, and a desk at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click

from pik.api.capture_stream import CaptureStream
from pik.api.common import Resource
from pik.api.manifests import Manifest
from pik.cli.desk import Desk
from pik.cli.shelf import Applied, Census, Item, NoSuchResource, Seen, one_of
from pik.cli.where import InFolder
from pik.local.state import Record, State


class FolderShelf:
    """`cli.shelf.Shelf` over a folder's state."""

    pause = 0.1
    worker = "does a `pik up` work on the folder?"

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def place(self) -> str:
        return f"the folder {self._state.directory}"

    def idle(self) -> str:
        if self._state.running() is not None:
            return ""
        return f"no `pik up` works on {self._state.directory} now: the next one takes it up"

    async def items(self, kind: type[Resource]) -> list[Item]:
        self._state.check()
        return [_item(record) for record in self._state.records() if record.key.kind == kind.KIND]

    async def look(self, kind: type[Resource], name: str) -> Item | None:
        return one_of(await self.items(kind), kind, name)

    async def events(self, item: Item) -> list[Seen]:
        return [
            Seen(event.type, event.reason, event.message, event.count, event.last)
            for event in self._record(item).events
        ]

    async def approve(self, item: Item, plan: str, by: str | None) -> str:
        if by is None:
            raise click.UsageError("Missing option '--by': a folder does not know who you are.")
        self._patch(item, {"approval": {"plan": plan, "by": by}})
        return by

    async def suspend(self, item: Item) -> None:
        self._patch(item, {"suspend": True})

    async def resume(self, item: Item) -> None:
        """Whatever its manifest says."""
        self._patch(item, {"suspend": False})

    async def apply(self, manifest: Manifest) -> Applied:
        from pik.cli.handover import apply  # rules of objects take a while to import

        return Applied(*apply(self._state, manifest))

    async def census(self) -> Census:
        return Census(await self.items(CaptureStream), self._state.known_cluster(), None)

    async def standing(self) -> tuple[dict[str, Any], Sequence[str]]:
        self._state.check()
        running, last = self._state.running(), self._state.up()
        endpoint = last.endpoint if last else None
        document: dict[str, Any] = {
            "folder": str(self._state.directory),
            "running": running is not None,
            "pid": running.pid if running else None,
            "gateway": running.gateway if running else None,
            "endpoint": endpoint,
            "region": last.region if last else None,
        }
        at_work = f"process {running.pid}, events to {running.gateway}" if running else "nobody"
        return document, (
            f"at work on {self._state.directory}: {at_work}",
            f"AWS: {endpoint or 'AWS itself'}",
        )

    def _patch(self, item: Item, spec: dict[str, Any]) -> None:
        from pik.cli.handover import patch

        patch(self._state, self._record(item), {"spec": spec})

    def _record(self, item: Item) -> Record:
        record = self._state.record(item.key)
        if record is None:
            raise NoSuchResource(f"{item.key} has just gone")
        return record


@asynccontextmanager
async def folder_shelf(where: InFolder) -> AsyncIterator[FolderShelf]:
    yield FolderShelf(State(where.directory))


@asynccontextmanager
async def folder_desk(where: InFolder, endpoint_url: str | None) -> AsyncIterator[Desk]:
    """`endpoint_url` None: the AWS that `pik up` uses. Raises `NoState`."""
    from pik.aws.clients import AwsAccess
    from pik.controller.workshop import Workshop
    from pik.local.machine import machine

    state = State(where.directory)
    state.check()
    up, running = state.up(), state.running()
    access = AwsAccess(
        endpoint_url=endpoint_url or (up.endpoint if up else None), region=up.region if up else None
    )
    with machine(access) as tools:
        workshop = Workshop(
            tools.cloud,
            clock=tools.clock,
            entropy=tools.entropy,
            offload=tools.work,
            cache=state.segments,
            wake=lambda _: None,
        )
        try:
            yield Desk(
                FolderShelf(state),
                tools.cloud,
                workshop,
                tools.clock,
                tools.entropy,
                tools.work,
                gateway=running.gateway if running else None,
                inventory=tools.cloud.inventory,
                endpoint=access.endpoint_url,
            )
        finally:
            for stream in workshop.opened():
                await stream.capture.close()


def _item(record: Record) -> Item:
    return Item(record.manifest, f"declared in {record.source}")
