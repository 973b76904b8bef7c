"""What an installation decides about its operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pik.cluster.jobs.settings import JobSettings
from pik.cluster.leading import LeaseTiming
from pik.controller.outcome import Backoff
from pik.controller.world import Callers, Timing
from pik.planning.replay.addresses import ForbiddenNetworks

TIMING = Timing(first=10.0)
"""The first event of a stream comes by another process: it is looked for every ten seconds."""


class Executor(StrEnum):
    """What runs replays and computes aggregates: pods of Jobs, or the operator's own process."""

    JOBS = "Jobs"
    IN_PROCESS = "InProcess"


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """`cluster`: the name of this cluster in owner records. `namespace`: the operator's own, where its Lease
    is. `identity`: of this replica, see `Leadership`. `watch`: namespaces whose objects are reconciled;
    empty: all. `gateway`: base URL under which producers reach the gateway; None: there is none.
    `gateway_health`: where its `/readyz` is; None: under the same. `callers`: how it can tell who sends.
    `memory`: of one plan, such as `768MB`. `functions`: folder with the packages of AWS Lambda
    functions; None: there are none. `roles`: file with the map of roles; None: there are none.
    `forbidden`: networks where no target of a replay may be, besides the API server's. `cache`: directory for
    segments that are being read; empty: a temporary one. `host`, `metrics_port`: where health and metrics are
    served; None: nowhere. `jobs`: the pods that run replays and compute aggregates; None: this process does.
    `grace`: seconds for what is under way when the process is told to stop."""

    cluster: str
    namespace: str
    identity: str
    watch: tuple[str, ...] = ()
    gateway: str | None = None
    gateway_health: str | None = None
    memory: str | None = None
    functions: Path | None = None
    roles: Path | None = None
    forbidden: ForbiddenNetworks = ()
    cache: str = ""
    workers: int = 8
    host: str = "127.0.0.1"
    metrics_port: int | None = None
    jobs: JobSettings | None = None
    grace: float = 20.0
    lease_name: str = "pik-operator"
    lease: LeaseTiming = field(default_factory=LeaseTiming)
    callers: Callers = field(default_factory=Callers)
    timing: Timing = TIMING
    backoff: Backoff = field(default_factory=Backoff)
