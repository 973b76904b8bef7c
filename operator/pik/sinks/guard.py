"""Connections that go nowhere they must not: every address of a name is looked at, and the connection is made
to one that was looked at, so that a name that changes in between changes nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable

import httpcore

from pik.domain.errors import TargetForbidden
from pik.planning.replay.addresses import ForbiddenNetworks, forbidden

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""From host and port to IP addresses, in order of preference. Raises OSError."""


async def resolve(host: str, port: int) -> list[str]:
    """By the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """A network for httpcore. TLS still checks the certificate by the URL's host, and `Host` names it."""

    def __init__(
        self,
        inner: httpcore.AsyncNetworkBackend,
        *,
        loopback: bool,
        networks: ForbiddenNetworks = (),
        resolver: Resolve = resolve,
    ) -> None:
        """`loopback`, `networks`: as in `forbidden`."""
        self._inner = inner
        self._loopback = loopback
        self._networks = networks
        self._resolve = resolver

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises `TargetForbidden` if any of the host's addresses is one that nothing is sent to."""
        addresses = await self._addresses(host, port, timeout)
        for address in addresses:
            reason = forbidden(address, loopback=self._loopback, networks=self._networks)
            if reason is not None:
                raise TargetForbidden(f"{host} is {address}: {reason}")
        failed: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)

    async def _addresses(self, host: str, port: int, timeout: float | None) -> list[str]:
        try:
            async with asyncio.timeout(timeout):
                return await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in {timeout} s") from error
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        except UnicodeError as error:  # a label that IDNA refuses
            raise httpcore.ConnectError(f"{host} is no host name") from error
