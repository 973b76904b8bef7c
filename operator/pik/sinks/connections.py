"""Connections to one HTTP endpoint, kept open from request to request.

httpcore's own pool serves any number of endpoints, and for that looks at each connection with every request;
to one endpoint the connection that was used last will do.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore

_KEEPALIVE = 30.0  # seconds


class Connections:
    """As many as are asked for at the same time."""

    def __init__(self, url: str, backend: httpcore.AsyncNetworkBackend) -> None:
        self._origin = httpcore.URL(url).origin
        self._backend = backend
        self._ssl_context: ssl.SSLContext = httpcore.default_ssl_context()
        self._idle: list[httpcore.AsyncHTTPConnection] = []
        self._closed = False

    @asynccontextmanager
    async def one(self) -> AsyncIterator[httpcore.AsyncHTTPConnection]:
        """A connection that nobody else has meanwhile; open, as far as can be seen, or new."""
        connection = self._idle.pop() if self._idle else self._new()
        if connection.has_expired() or connection.is_closed():
            await connection.aclose()
            connection = self._new()
        try:
            yield connection
        finally:
            if connection.is_idle() and not self._closed:
                self._idle.append(connection)
            else:
                await connection.aclose()

    async def aclose(self) -> None:
        """Those under way are closed when they are done."""
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()

    def _new(self) -> httpcore.AsyncHTTPConnection:
        return httpcore.AsyncHTTPConnection(
            self._origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=_KEEPALIVE,
            network_backend=self._backend,
        )
