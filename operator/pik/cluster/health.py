"""What a process says of itself over HTTP, apart from what it serves.

    GET /healthz   200 while the process is alive: its event loop answers, and none of its parts has died
    GET /readyz    200 while it can do what it is there for
    GET /metrics   Prometheus, as text

A 503 has a line for each thing that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from pik.gateway.app import Receive, Scope, Send
from pik.ports.system import Offload

Faults = Callable[[], Sequence[str]]
"""What is wrong, a sentence each."""

_TEXT = "text/plain; charset=utf-8"


class Health:
    """The ASGI application. Belongs to the event loop of what it tells about; `offload` is for writing the
    metrics down, which for thousands of streams takes longer than a loop should be held up."""

    def __init__(self, registry: CollectorRegistry, offload: Offload, *, live: Faults, ready: Faults) -> None:
        self._registry = registry
        self._offload = offload
        self._probes = {"/healthz": live, "/readyz": ready}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served, not {scope['type']}")
        status, content_type, body = await self._respond(scope)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _respond(self, scope: Scope) -> tuple[HTTPStatus, str, bytes]:
        if scope["method"] not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET and HEAD\n"
        if scope["path"] == "/metrics":
            accept = b",".join(value for name, value in scope["headers"] if name.lower() == b"accept")
            encoder, content_type = choose_encoder(accept.decode("latin-1"))
            collected = _Collected(list(self._registry.collect()))
            return HTTPStatus.OK, content_type, await self._offload(encoder, collected)
        probe = self._probes.get(scope["path"])
        if probe is None:
            return HTTPStatus.NOT_FOUND, _TEXT, b"/healthz, /readyz, /metrics\n"
        faults = probe()
        if not faults:
            return HTTPStatus.OK, _TEXT, b"ok\n"
        return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, "".join(f"{fault}\n" for fault in faults).encode()


class _Collected(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families
