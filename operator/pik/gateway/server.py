"""The gateway's HTTP server: uvicorn inside a loop that belongs to somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn

from pik.domain.errors import PikError
from pik.gateway.app import Gateway


class CannotServe(PikError):
    """The address cannot be bound; the text says which and why."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process, not to its gateway."""
        yield


@contextlib.asynccontextmanager
async def serving(gateway: Gateway, host: str, port: int, grace: float = 10.0) -> AsyncIterator[str]:
    """Serves while the block runs, and yields the base URL. Port 0 takes a free one. On leaving it refuses
    new requests and gives those under way `grace` seconds.

    Raises `CannotServe`.
    """
    config = uvicorn.Config(
        gateway,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=round(grace),
    )
    listening = _bind(host, port)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        address = listening.getsockname()
        yield f"http://{address[0]}:{address[1]}"
    finally:
        gateway.close()
        server.should_exit = True
        await task
        listening.close()


def _bind(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise CannotServe(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listening
