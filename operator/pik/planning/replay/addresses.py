"""Addresses that nothing is ever sent to, whatever a name, a redirect or a spec says (law 11): with them a
tenant could use pik's place in the network for what it may not do itself."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import msgspec

_METADATA = (
    *(ip_network("fd00:ec2::/32"), ip_network("fd20:ce::254/128")),  # AWS (also EKS and ECS), Google Cloud
    ip_network("100.100.100.200/32"),  # Alibaba Cloud
    ip_network("168.63.129.16/32"),  # Azure
)
_THIS_NETWORK = ip_network("0.0.0.0/8")
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291, deprecated; holds :: and ::1


class ForbiddenNetwork(msgspec.Struct, frozen=True):
    """What an installation forbids besides. `why`: what is said of an address in it."""

    network: IPv4Network | IPv6Network
    why: str


ForbiddenNetworks = Sequence[ForbiddenNetwork]


def forbidden_networks(text: str, why: str) -> tuple[ForbiddenNetwork, ...]:
    """Of a list with commas: networks such as `10.96.0.0/12`, or single addresses. Raises ValueError that
    names what is neither."""
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(ForbiddenNetwork(ip_network(word), why))
        except ValueError as error:
            raise ValueError(f"{word!r} is no network and no address: {error}") from error
    return tuple(found)


def forbidden(address: str, *, loopback: bool, networks: ForbiddenNetworks = ()) -> str | None:
    """Why nothing is sent to this IP address, or None. `loopback`: whether this machine itself may be a
    target, as in local mode. `networks`: what is forbidden besides. Raises ValueError for what is no IP
    address."""
    ip = ip_address(address.partition("%")[0])
    embedded = _embedded(ip)
    for inner in (ip, *embedded):
        for besides in networks:
            if inner in besides.network:
                return besides.why
    meant: list[IPv4Address | IPv6Address] = [*embedded] or [ip]
    for inner in meant:
        if (reason := _forbidden(inner, loopback=loopback)) is not None:
            return reason
    return None


def forbidden_host(host: str, *, loopback: bool, networks: ForbiddenNetworks = ()) -> str | None:
    """The same for the host of a URL; None for a name, which is looked at when it is resolved."""
    try:
        return forbidden(host, loopback=loopback, networks=networks)
    except ValueError:
        return None


def _forbidden(ip: IPv4Address | IPv6Address, *, loopback: bool) -> str | None:
    if any(ip in network for network in _METADATA):
        return "a cloud's metadata service"
    if ip.is_link_local:
        return "link-local, where metadata services are"
    if ip.is_loopback:
        return None if loopback else "loopback"
    if ip.is_unspecified or ip in _THIS_NETWORK:
        return "unspecified"
    if ip.is_multicast:
        return "multicast"
    return "reserved" if ip.is_reserved else None


def _embedded(ip: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address leads to, where it is only a way to write or reach them."""
    if isinstance(ip, IPv4Address):
        return []
    found = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    low = int(ip) & 0xFFFF_FFFF
    if any(ip in network for network in _NAT64) or (ip in _COMPATIBLE and low > 1):
        found.append(IPv4Address(low))
    return [inner for inner in found if inner is not None]
