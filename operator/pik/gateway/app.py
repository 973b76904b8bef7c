"""HTTP ingest as a bare ASGI application: no framework between a request and the segment it goes into.

    POST /v1/streams/{namespace}/{name}/events      events in, one answer each
    GET  /healthz                                   200 while the process serves
    GET  /readyz                                    200 while it takes events, 503 while it shuts down

| status | when |
|---|---|
| 200 | each event has its answer, in order: `{"answers": [{"status": …, "event_id": …, …}]}` |
| 400 | `MalformedBatch`: the body is not what its content type says; nothing was taken |
| 404 | no such stream, or it takes nothing over HTTP |
| 405, 408, 415 | method; the body took too long; a content type or encoding that is not taken |
| 413 | the body, or the number of its events, is larger than the stream takes |
| 422 | there was nothing in it but rejected events; `answers` says why |
| 429 | too much waits to be written; `Retry-After` says when to come back |
| 503 | not now (suspended, index being rebuilt, AWS away): send it again, nothing is lost or doubled |
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import msgspec

from pik.domain.decode import decode_request
from pik.domain.errors import BatchTooLarge, MalformedBatch, Overloaded, PikError, UnsupportedMediaType
from pik.execution.capture.answers import Answer, Status
from pik.gateway.doors import Door, Doors

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_OFFLOADED_BYTES = 262_144  # a body that takes longer to read than the event loop should be held up
_RETRY_SECONDS = 1.0


class RequestRefused(PikError):
    """A request that is answered with an error and takes nothing."""

    def __init__(self, status: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Gateway:
    """The ASGI application. `close` makes it refuse new requests, so that those under way can end."""

    def __init__(
        self, doors: Doors, *, body_seconds: float = 30.0, held_bytes: int = 256 * 1024 * 1024
    ) -> None:
        """`body_seconds`: that a body may take to come. `held_bytes`: of bodies of requests under way; what
        would be more is answered 429."""
        self._doors = doors
        self._body_seconds = body_seconds
        self._most_held = held_bytes
        self._held = 0
        self._closing = False
        self._answers = msgspec.json.Encoder()

    def close(self) -> None:
        self._closing = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served, not {scope['type']}")
        headers: list[tuple[bytes, bytes]] = []
        try:
            status, body = await self._respond(scope, receive)
        except RequestRefused as error:
            status, body = error.status, _error(error.reason, str(error))
        except BatchTooLarge as error:
            status, body = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _error("BatchTooLarge", str(error))
        except MalformedBatch as error:
            status, body = HTTPStatus.BAD_REQUEST, _error("MalformedBatch", str(error))
        except UnsupportedMediaType as error:
            status, body = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _error("UnsupportedMediaType", str(error))
        except Overloaded as error:
            headers.append(_retry_after(error.retry_after))
            status, body = HTTPStatus.TOO_MANY_REQUESTS, _error("Overloaded", str(error))
        except PikError as error:
            headers.append(_retry_after(_RETRY_SECONDS))
            status, body = HTTPStatus.SERVICE_UNAVAILABLE, _error(type(error).__name__, str(error))
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
        await send({"type": "http.response.body", "body": body})

    async def _respond(self, scope: Scope, receive: Receive) -> tuple[HTTPStatus, bytes]:
        path: str = scope["path"]
        if path in ("/healthz", "/readyz"):
            busy = self._closing and path == "/readyz"
            return (HTTPStatus.SERVICE_UNAVAILABLE if busy else HTTPStatus.OK), b"{}"
        door = self._door(path)
        if scope["method"] != "POST":
            raise RequestRefused(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", "events come by POST")
        if self._closing:
            raise RequestRefused(
                HTTPStatus.SERVICE_UNAVAILABLE, "ShuttingDown", "this gateway is shutting down"
            )
        headers = {name.lower(): value for name, value in scope["headers"]}
        encoding = headers.get(b"content-encoding", b"identity")
        if encoding != b"identity":
            raise RequestRefused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UnsupportedEncoding", "bodies come without an encoding"
            )
        content_type = headers[b"content-type"].decode("latin-1") if b"content-type" in headers else None
        with self._holding() as hold:
            most = door.rules.max_batch_bytes
            body = await self._body(headers.get(b"content-length"), receive, most, hold)
            answers = await self._take(door, body, content_type, scope["headers"])
        rejected = all(answer.status is Status.REJECTED for answer in answers) and answers
        status = HTTPStatus.UNPROCESSABLE_ENTITY if rejected else HTTPStatus.OK
        return status, self._answers.encode({"answers": answers})

    def _door(self, path: str) -> Door:
        match path.split("/"):
            case ["", "v1", "streams", namespace, name, "events"]:
                door = self._doors(namespace, name)
                if door is not None:
                    return door
                message = f"there is no CaptureStream {namespace}/{name} that takes events here now"
                raise RequestRefused(HTTPStatus.NOT_FOUND, "StreamNotFound", message)
            case _:
                message = "events go to /v1/streams/{namespace}/{name}/events"
                raise RequestRefused(HTTPStatus.NOT_FOUND, "NotFound", message)

    async def _take(
        self, door: Door, body: bytes, content_type: str | None, headers: list[tuple[bytes, bytes]]
    ) -> list[Answer]:
        if len(body) > _OFFLOADED_BYTES:
            taken = await door.offload(decode_request, body, door.rules, content_type, headers)
        else:
            taken = decode_request(body, door.rules, content_type, headers)
        return await door.capture.ingest(await door.claims.judge(taken))

    @contextmanager
    def _holding(self) -> Iterator[Callable[[int], None]]:
        """Counts a request's bytes while it is under way. Raises `Overloaded` where they are too many."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if self._held + size > self._most_held and self._held > held:
                raise Overloaded("too much is being read and written at once", retry_after=1.0)
            held += size
            self._held += size

        try:
            yield hold
        finally:
            self._held -= held

    async def _body(
        self, length: bytes | None, receive: Receive, most: int, hold: Callable[[int], None]
    ) -> bytes:
        """The whole body. Raises `BatchTooLarge` before reading more than it must."""
        if length is not None and length.isdigit() and int(length) > most:
            raise BatchTooLarge(f"the body has {int(length)} bytes; {most} are taken")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestRefused(HTTPStatus.BAD_REQUEST, "Disconnected", "the client went away")
                    part = message.get("body", b"")
                    size += len(part)
                    if size > most:
                        raise BatchTooLarge(f"the body has more than {most} bytes")
                    hold(len(part))
                    parts.append(part)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError as error:
            raise RequestRefused(
                HTTPStatus.REQUEST_TIMEOUT, "TooSlow", f"the body took over {self._body_seconds:.0f} s"
            ) from error


def _error(reason: str, message: str) -> bytes:
    return msgspec.json.encode({"error": {"reason": reason, "message": message}})


def _retry_after(seconds: float) -> tuple[bytes, bytes]:
    return b"retry-after", str(max(1, math.ceil(seconds))).encode()
