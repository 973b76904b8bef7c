"""Where the API server is: no target of a replay may be there."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from ipaddress import ip_address

from pik.cluster.api import Api
from pik.cluster.errors import KubeDenied, KubeNotFound, KubeUnavailable
from pik.cluster.paths import API_SERVER_ENDPOINTS
from pik.planning.replay.addresses import ForbiddenNetwork, forbidden_networks
from pik.sinks.guard import Resolve, resolve

log = logging.getLogger(__name__)

_WHY = "the API server of this cluster"
_PORT = 443


async def control_plane(api: Api) -> tuple[str, ...]:
    """The addresses that the API server's Service leads to, as of now. Empty where they may not be read: then
    the Service's own address is all that is known."""
    try:
        found = await api.get(API_SERVER_ENDPOINTS)
    except (KubeDenied, KubeNotFound) as error:
        log.warning("replays are kept from the API server's Service, not from where it leads to: %s", error)
        return ()
    return tuple(address for each in found.get("endpoints") or () for address in each["addresses"])


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
