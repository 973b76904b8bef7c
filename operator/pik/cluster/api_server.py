"""Where the API server is: no target of a replay may be there."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from pik.cluster.errors import KubeUnavailable
from pik.planning.replay.addresses import ForbiddenNetwork, forbidden_networks
from pik.sinks.guard import Resolve, resolve

_WHY = "the API server of this cluster"
_PORT = 443


async def api_server_networks(
    hosts: Iterable[str | None], resolver: Resolve = resolve
) -> tuple[ForbiddenNetwork, ...]:
    """The addresses of these names. Loopback is left out: whether that may be a target is decided by itself.
    Raises `KubeUnavailable` where one cannot be resolved."""
    found: list[ForbiddenNetwork] = []
    for host in filter(None, hosts):
        try:
            addresses = await resolver(host, _PORT)
        except OSError as error:
            raise KubeUnavailable(f"the API server's name {host} cannot be resolved: {error}") from error
        for address in addresses:
            plain = address.partition("%")[0]
            if not ip_address(plain).is_loopback:
                found += forbidden_networks(plain, _WHY)
    return tuple(found)
