"""HTTP ingest as a bare ASGI application: no framework between a request and the segment it goes into.

    POST /v1/streams/{namespace}/{name}/events      events in, one answer each
    GET  /healthz                                   200 while the process serves
    GET  /readyz                                    200 while it takes events, 503 before that and at its end

| status | when |
|---|---|
| 200 | each event has its answer, in order: `{"answers": [{"status": …, "event_id": …, …}]}` |
| 400 | `MalformedBatch`: the body is not what its content type says; nothing was taken |
| 401, 403 | the stream wants to know who sends, and does not; that one may not |
| 404 | no such stream, or it takes nothing over HTTP |
| 405, 408, 415 | method; the body took too long; a content type or encoding that is not taken |
| 413 | the body, or the number of its events, is larger than the stream takes |
| 422 | there was nothing in it but rejected events; `answers` says why |
| 429 | too much waits to be written; `Retry-After` says when to come back |
| 500 | an error that pik did not expect: send it again, as after a 503 |
| 503 | not now (suspended, index being rebuilt, AWS away): send it again, nothing is lost or doubled |
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import msgspec

from pik.domain.arrivals import Rejection
from pik.domain.columns import Columns
from pik.domain.decode import decode_batch, decode_request
from pik.domain.errors import (
    BatchTooLarge,
    MalformedBatch,
    NotReady,
    Overloaded,
    PikError,
    UnsupportedMediaType,
)
from pik.domain.headers import kept_headers
from pik.domain.intake import Intake
from pik.execution.capture.answers import Answer, Status
from pik.gateway.callers import Forbidden, Unauthenticated
from pik.gateway.deadlines import Deadlines
from pik.gateway.doors import Door, Doors
from pik.gateway.observing import GatewayObserver, Nobody, RequestObserver

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

log = logging.getLogger(__name__)

_JSON = (b"content-type", b"application/json")
_OFFLOADED_BYTES = 262_144  # a body that takes longer to read than the event loop should be held up
_FEW_BYTES = 1_024  # of a body with so few events that columns of them are more work than each by itself
_RETRY_SECONDS = 1.0


class RequestRefused(PikError):
    """A request that is answered with an error and takes nothing."""

    def __init__(self, status: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Gateway:
    """The ASGI application. `drain` tells those who ask that it is about to end, and takes requests still;
    `close` makes it refuse new ones, so that those under way can end."""

    def __init__(
        self,
        doors: Doors,
        *,
        body_seconds: float = 30.0,
        held_bytes: int = 256 * 1024 * 1024,
        most_requests: int = 1_024,
        ready: Callable[[], bool] = lambda: True,
        observer: GatewayObserver | None = None,
    ) -> None:
        """`body_seconds`: that a body may take to come. `held_bytes`: of bodies of requests under way; what
        would be more is answered 429, as is what comes while `most_requests` are under way. `ready`: whether
        it knows its streams."""
        self._doors = doors
        self._ready = ready
        self._observer = observer or Nobody()
        self._body_seconds = body_seconds
        self._slow = Deadlines(body_seconds)
        self._most_held = held_bytes
        self._held = 0
        self._most_requests = most_requests
        self._requests = 0
        self._draining = False
        self._closing = False
        self._answers = msgspec.json.Encoder()

    @property
    def held_bytes(self) -> int:
        """Of the bodies of requests under way."""
        return self._held

    def drain(self) -> None:
        self._draining = True

    def close(self) -> None:
        self._draining = self._closing = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served, not {scope['type']}")
        path: str = scope["path"]
        if path in ("/healthz", "/readyz"):
            away = path == "/readyz" and (self._draining or not self._ready())
            await self._send(send, HTTPStatus.SERVICE_UNAVAILABLE if away else HTTPStatus.OK, b"{}", ())
            return
        with self._observer.request() as request:
            headers: tuple[Header, ...] = ()
            try:
                status, body = await self._respond(scope, receive, request)
            except PikError as error:
                request.failed(error)
                status, reason, headers = _refusal(error)
                body = _error(reason, str(error))
            except Exception:  # the one place where a bug becomes an answer
                log.exception("a request failed in a way that was not foreseen")
                status = HTTPStatus.INTERNAL_SERVER_ERROR
                body = _error("InternalError", "the gateway met an error that it did not expect")
            request.answered(status)
            await self._send(send, status, body, headers)

    async def _send(
        self, send: Send, status: HTTPStatus, body: bytes, headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        length = (b"content-length", str(len(body)).encode())
        # whoever keeps this connection finds another replica with the next one
        leaving = ((b"connection", b"close"),) if self._draining else ()
        started = {"type": "http.response.start", "status": status}
        await send({**started, "headers": [_JSON, length, *headers, *leaving]})
        await send({"type": "http.response.body", "body": body})

    async def _respond(
        self, scope: Scope, receive: Receive, request: RequestObserver
    ) -> tuple[HTTPStatus, bytes]:
        door = self._door(scope["path"], request)
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
        if door.admission is not None:
            await door.admission.admit(headers.get(b"authorization"))
        with self._holding() as hold:
            most = door.rules.max_batch_bytes
            body = await self._body(headers.get(b"content-length"), receive, most, hold)
            answers = await self._take(door, body, content_type, scope["headers"])
            request.took(len(body), answers)
        rejected = all(answer.status is Status.REJECTED for answer in answers) and answers
        status = HTTPStatus.UNPROCESSABLE_ENTITY if rejected else HTTPStatus.OK
        return status, self._answers.encode({"answers": answers})

    def _door(self, path: str, request: RequestObserver) -> Door:
        match path.split("/"):
            case ["", "v1", "streams", namespace, name, "events"]:
                try:
                    door = self._doors(namespace, name)
                except NotReady:
                    request.to(namespace, name)
                    raise
                if door is not None:
                    request.to(namespace, name)
                    return door
                message = f"there is no CaptureStream {namespace}/{name} that takes events here now"
                raise RequestRefused(HTTPStatus.NOT_FOUND, "StreamNotFound", message)
            case _:
                message = "events go to /v1/streams/{namespace}/{name}/events"
                raise RequestRefused(HTTPStatus.NOT_FOUND, "NotFound", message)

    async def _take(
        self, door: Door, body: bytes, content_type: str | None, headers: list[tuple[bytes, bytes]]
    ) -> list[Answer]:
        door.capture.check_wait()
        taken: Columns | list[Intake]
        if len(body) < _FEW_BYTES:
            taken = decode_request(body, door.rules, content_type, headers)
        elif len(body) > _OFFLOADED_BYTES:
            taken = await door.offload(decode_batch, body, door.rules, content_type, headers)
        else:
            taken = decode_batch(body, door.rules, content_type, headers)
        kept = kept_headers(headers, door.rules.headers) if door.rules.headers else None
        if isinstance(taken, Columns):  # what is plain claims nothing
            return await door.capture.ingest(taken if kept is None else taken.with_headers(kept))
        judged = await door.claims.judge(taken)
        if kept is not None:
            judged = [
                one if isinstance(one, Rejection) else msgspec.structs.replace(one, headers=kept)
                for one in judged
            ]
        return await door.capture.ingest(judged)

    @contextmanager
    def _holding(self) -> Iterator[Callable[[int], None]]:
        """Counts a request and its bytes while it is under way. Raises `Overloaded` where they are too
        many."""
        if self._requests >= self._most_requests:
            raise Overloaded(f"{self._requests} requests are under way", retry_after=1.0)
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if self._held + size > self._most_held and self._held > held:
                raise Overloaded("too much is being read and written at once", retry_after=1.0)
            held += size
            self._held += size

        self._requests += 1
        try:
            yield hold
        finally:
            self._requests -= 1
            self._held -= held

    async def _body(
        self, length: bytes | None, receive: Receive, most: int, hold: Callable[[int], None]
    ) -> bytes:
        """The whole body. Raises `BatchTooLarge` before reading more than it must."""
        if length is not None and length.isdigit() and int(length) > most:
            raise BatchTooLarge(f"the body has {int(length)} bytes; {most} are taken")
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is read by a task")
        self._slow.begin(task)
        try:
            body = await _read(receive, most, hold)
        except asyncio.CancelledError:
            if not self._slow.end(task):
                raise
            raise RequestRefused(
                HTTPStatus.REQUEST_TIMEOUT, "TooSlow", f"the body took over {self._body_seconds:.0f} s"
            ) from None
        finally:
            self._slow.end(task)
        return body


async def _read(receive: Receive, most: int, hold: Callable[[int], None]) -> bytes:
    parts: list[bytes] = []
    size = 0
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


def _refusal(error: PikError) -> tuple[HTTPStatus, str, tuple[Header, ...]]:
    """Status, reason and headers that say what an error means for whoever sent the request."""
    reason = type(error).__name__
    match error:
        case RequestRefused():
            return error.status, error.reason, ()
        case BatchTooLarge():
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason, ()
        case MalformedBatch():
            return HTTPStatus.BAD_REQUEST, reason, ()
        case UnsupportedMediaType():
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, reason, ()
        case Unauthenticated():
            return HTTPStatus.UNAUTHORIZED, reason, ((b"www-authenticate", b'Bearer realm="pik"'),)
        case Forbidden():
            return HTTPStatus.FORBIDDEN, reason, ()
        case Overloaded():
            return HTTPStatus.TOO_MANY_REQUESTS, reason, (_retry_after(error.retry_after),)
        case _:
            return HTTPStatus.SERVICE_UNAVAILABLE, reason, (_retry_after(_RETRY_SECONDS),)


def _error(reason: str, message: str) -> bytes:
    return msgspec.json.encode({"error": {"reason": reason, "message": message}})


def _retry_after(seconds: float) -> tuple[bytes, bytes]:
    return b"retry-after", str(max(1, math.ceil(seconds))).encode()
