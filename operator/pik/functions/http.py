"""Requests and answers of Function URLs and API Gateway (payload format 2.0) for an ASGI application.

docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html has both forms. Several headers of one name come as
one, with commas; a body that is no text comes in base64, and which those are is for AWS to say.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pik.domain.errors import PikError

Application = Callable[[Any, Any, Any], Awaitable[None]]


class NotARequest(PikError):
    """An event that is no HTTP request of payload format 2.0."""


async def respond(application: Application, event: Mapping[str, Any], own_path: str) -> dict[str, Any]:
    """What the application answers. `own_path`: where a request to `/` goes. Raises `NotARequest`."""
    scope, body = _request(event, own_path)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    start, *parts = sent
    return {
        "statusCode": int(start["status"]),
        "headers": {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]},
        "body": b"".join(part.get("body", b"") for part in parts).decode(),
        "isBase64Encoded": False,
    }


def _request(event: Mapping[str, Any], own_path: str) -> tuple[dict[str, Any], bytes]:
    try:
        asked = event["requestContext"]["http"]
        method, path = str(asked["method"]), str(event["rawPath"])
        stage = f"/{event['requestContext'].get('stage', '$default')}/"
        text = event.get("body") or ""
        body = b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode()
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (event.get("headers") or {}).items()
        ]
    except (KeyError, TypeError, AttributeError, NotBase64, UnicodeEncodeError) as error:
        raise NotARequest(f"not a request of payload format 2.0: {error}") from error
    if path.startswith(stage):
        path = path[len(stage) - 1 :]
    scope = {"type": "http", "method": method, "path": own_path if path == "/" else path, "headers": headers}
    return scope, body
