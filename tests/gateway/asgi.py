"""Calls an ASGI application without a server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pik.gateway.app import Gateway


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: Any


async def call(
    gateway: Gateway,
    path: str,
    body: bytes | Sequence[bytes] = b"",
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> Response:
    parts = [body] if isinstance(body, bytes) else list(body)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not parts:
            return {"type": "http.disconnect"}
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(k.encode(), v.encode()) for k, v in (headers or {}).items()],
    }
    await gateway(scope, receive, send)
    start, end = sent
    return Response(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        json.loads(end["body"]),
    )
