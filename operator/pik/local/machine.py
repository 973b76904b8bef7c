"""This machine's clock, randomness and threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pik.aws.clients import AwsAccess
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.controller.aws_cloud import AwsCloud
from pik.controller.roles import Roles


@dataclass(frozen=True, slots=True)
class Machine:
    """`work`: threads for Parquet and DuckDB."""

    clock: SystemClock
    entropy: SystemEntropy
    work: ThreadOffload
    cloud: AwsCloud


@contextmanager
def machine(access: AwsAccess, roles: Roles | None = None) -> Iterator[Machine]:
    """With threads, which end with the block. Replays may be sent to this machine itself. `roles`: which are
    assumed for streams; None: none is, and a stream that wants one is refused."""
    clock, entropy = SystemClock(), SystemEntropy()
    io = ThreadOffload(access.connections, "aws")
    work = ThreadOffload(max(2, os.cpu_count() or 1), "work")
    cloud = AwsCloud(access, io=io, cpu=work, clock=clock, entropy=entropy, loopback=True, roles=roles)
    try:
        yield Machine(clock, entropy, work, cloud)
    finally:
        work.close()
        io.close()
