"""A desk at a folder that `pik up` reconciles, or has reconciled."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pik.aws.clients import AwsAccess
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.cli.desk import Desk
from pik.controller.aws_cloud import AwsCloud
from pik.controller.workshop import Workshop
from pik.local.state import State, Up


@asynccontextmanager
async def opened(directory: Path, endpoint_url: str | None) -> AsyncIterator[Desk]:
    """`endpoint_url` None: the AWS that `pik up` uses. Raises `NoState`."""
    state = State(directory)
    state.check()
    up = state.up()
    access = AwsAccess(
        endpoint_url=endpoint_url or (up.endpoint if up else None), region=up.region if up else None
    )
    clock, entropy = SystemClock(), SystemEntropy()
    io, work = ThreadOffload(access.connections, "aws"), ThreadOffload(os.cpu_count() or 1, "work")
    cloud = AwsCloud(access, io=io, cpu=work, clock=clock, entropy=entropy, loopback=True)
    workshop = Workshop(
        cloud, clock=clock, entropy=entropy, offload=work, cache=state.segments, wake=lambda _: None
    )
    resources = {record.key: record.resource for record in state.records()}
    gateway = up.gateway if up and _is_running(up) else None
    try:
        yield Desk(resources, cloud, workshop, clock, entropy, work, gateway)
    finally:
        for stream in workshop.opened():
            await stream.capture.close()
        work.close()
        io.close()


def _is_running(up: Up) -> bool:
    try:
        os.kill(up.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it is somebody else's
    return True
