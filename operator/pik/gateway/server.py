"""HTTP servers: uvicorn inside a loop that belongs to somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from pik.domain.errors import PikError
from pik.gateway.app import Receive, Scope, Send

log = logging.getLogger(__name__)

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class CannotServe(PikError):
    """The address cannot be bound, or the certificate not be read; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files: the server's certificate with those that it was signed by, and its private key. `looked_at`:
    seconds between two looks at whether they were replaced."""

    chain: Path
    key: Path
    looked_at: float = 10.0

    def changed(self) -> tuple[int, ...]:
        """Differs from what it was before the files were replaced."""
        found = (self.chain.stat(), self.key.stat())
        return tuple(part for stat in found for part in (stat.st_mtime_ns, stat.st_ino, stat.st_size))


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process, not to its gateway."""
        yield


@contextlib.asynccontextmanager
async def serving(
    app: App,
    host: str,
    port: int,
    grace: float = 10.0,
    *,
    closing: Callable[[], None] = lambda: None,
    certificate: Certificate | None = None,
) -> AsyncIterator[str]:
    """Serves while the block runs, and yields the base URL. Port 0 takes a free one. On leaving it calls
    `closing`, listens no more, and gives requests under way `grace` seconds. A certificate that is replaced
    is used for the connections that are made from then on.

    Raises `CannotServe`.
    """
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=round(grace),
    )
    config.load()
    listening = _bind(host, port)
    server = _Server(config)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listening.close)
        if certificate is not None:
            config.ssl = _context(certificate)
            renewing = asyncio.create_task(_renew(config.ssl, certificate))
            stack.callback(renewing.cancel)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            address = listening.getsockname()
            scheme = "http" if certificate is None else "https"
            yield f"{scheme}://{address[0]}:{address[1]}"
        finally:
            closing()
            server.should_exit = True
            await task


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # by its protocol asyncio knows that it is TCP, and sends what is written at once: else the second part of
    # an answer waits for the client's delayed acknowledgement of the first, 40 ms
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise CannotServe(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listening


def _context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate.chain, certificate.key)
    except OSError as error:  # ssl.SSLError is one
        raise CannotServe(f"the certificate {certificate.chain} cannot be used: {error}") from error
    return context


async def _renew(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Until cancelled. Files that do not belong together are looked at again until they do."""
    known = certificate.changed()
    while True:
        await asyncio.sleep(certificate.looked_at)
        try:
            now = certificate.changed()
            if now == known:
                continue
            _context(certificate)  # a pair that is not one must not reach the one in use
            context.load_cert_chain(certificate.chain, certificate.key)
            known = now
            log.info("the certificate %s was renewed", certificate.chain)
        except (CannotServe, OSError) as error:
            log.warning("the certificate was replaced, and is not used yet: %s", error)
