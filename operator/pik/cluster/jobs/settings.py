"""What an installation decides about the pods that do its work."""

from __future__ import annotations

from dataclasses import dataclass, field

from pik.controller.roles import NoRoles, Roles
from pik.planning.replay.addresses import ForbiddenNetworks


@dataclass(frozen=True, slots=True)
class JobSettings:
    """`image`: the one that this process runs in, `pull_policy`: Kubernetes' word for when a node fetches it;
    None: as Kubernetes would. `environment`: variables for AWS that every pod gets.
    `cpu`, `memory` and `aggregate_memory`: Kubernetes quantities, where a spec says nothing. `grace` and
    `aggregate_grace`: seconds that a pod gets to stop. `ttl`: seconds that a Job stays whose outcome is on
    record. `loopback`: whether pods may send to their own machine, as in a test; `networks`: where they may
    not. `roles`: which streams have which role assumed for them."""

    image: str
    pull_policy: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    cpu: str = "100m"
    memory: str = "512Mi"
    aggregate_memory: str = "1Gi"
    grace: int = 60
    aggregate_grace: int = 10
    ttl: int = 600
    loopback: bool = False
    networks: ForbiddenNetworks = ()
    roles: Roles = field(default_factory=NoRoles)
