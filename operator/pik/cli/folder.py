"""A desk at a folder that `pik up` reconciles, or has reconciled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pik.aws.clients import AwsAccess
from pik.cli.desk import Desk
from pik.controller.workshop import Workshop
from pik.local.machine import machine
from pik.local.state import State


@asynccontextmanager
async def opened(directory: Path, endpoint_url: str | None) -> AsyncIterator[Desk]:
    """`endpoint_url` None: the AWS that `pik up` uses. Raises `NoState`."""
    state = State(directory)
    state.check()
    up = state.up()
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
        resources = {record.key: record.resource for record in state.records()}
        running = state.running()
        gateway = running.gateway if running else None
        try:
            yield Desk(
                resources,
                tools.cloud,
                workshop,
                tools.clock,
                tools.entropy,
                tools.work,
                gateway,
            )
        finally:
            for stream in workshop.opened():
                await stream.capture.close()
