"""An HTTP endpoint as a target: each event posted as a CloudEvent (structured mode), with a key by which the
target can drop repeats. One try a call; nothing is read from the environment, no redirect is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import httpcore
import msgspec

from pik.domain.headers import sent_headers
from pik.domain.instants import Instant, instant_of
from pik.planning.replay.addresses import ForbiddenNetworks
from pik.planning.replay.batches import TargetOrder
from pik.ports.sinks import Batch, Delivery, Disposition, SinkTraits
from pik.ports.system import Clock
from pik.sinks.connections import Connections
from pik.sinks.guard import GuardedBackend, Resolve, resolve

if TYPE_CHECKING:
    from pik.planning.replay.messages import Message

_RETRYABLE = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_READ_BYTES = 65_536  # of an answer's body, so that the connection can be used again
_HEADERS = [
    (b"Content-Type", b"application/cloudevents+json; charset=utf-8"),
    (b"Accept", b"*/*"),
    (b"User-Agent", b"pik"),
]


Headers = list[tuple[bytes, bytes]]


class Authenticate(Protocol):
    """What says who sends, as headers of one try; asked for each, so that what is renewed is seen, and what
    is signed is signed anew. Raises `SecretUnusable` where there is nothing any more."""

    def __call__(self, key: str, body: bytes, now: Instant) -> Headers: ...


class HTTPTimeouts(msgspec.Struct, frozen=True):
    """Seconds. `whole`: for everything that one event takes, also where an answer comes drop by drop."""

    connect: float = 5.0
    read: float = 15.0
    whole: float = 30.0


class HTTPSink:
    """`ports.Sink`. `loopback`: whether this machine itself may be the target, as in local mode. `networks`:
    where no target may be besides. `resent`: names of headers that are sent as they came with an event."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        loopback: bool = False,
        networks: ForbiddenNetworks = (),
        authenticate: Authenticate | None = None,
        resent: Sequence[str] = (),
        in_flight: int = 8,
        timeouts: HTTPTimeouts | None = None,
        resolver: Resolve = resolve,
    ) -> None:
        self._url = url
        self._clock = clock
        self._authenticate = authenticate
        self._resent = resent
        self._timeouts = timeouts or HTTPTimeouts()
        self._traits = SinkTraits(
            batch_events=1,
            batch_bytes=2**31,
            in_flight=in_flight,
            order=TargetOrder.MESSAGE,
            remembers_seconds=None,
        )
        self._slots = asyncio.Semaphore(in_flight)  # waiting for one takes none of the time
        self._connections = Connections(
            url,
            GuardedBackend(httpcore.AnyIOBackend(), loopback=loopback, networks=networks, resolver=resolver),
        )

    @property
    def traits(self) -> SinkTraits:
        return self._traits

    async def send(self, batch: Batch) -> list[Delivery]:
        return [await self._post(message) for message in batch.messages]

    async def close(self) -> None:
        await self._connections.aclose()

    async def _post(self, message: Message) -> Delivery:
        times = self._timeouts
        extensions = {
            "timeout": {
                "connect": times.connect,
                "read": times.read,
                "write": times.read,
            }
        }
        delivery: Delivery | None = None
        try:
            async with (
                self._slots,
                asyncio.timeout(times.whole),
                self._connections.one() as connection,
                connection.stream(
                    "POST",
                    self._url,
                    headers=self._headers(message),  # now, when nothing is waited for any more
                    content=message.body,
                    extensions=extensions,
                ) as response,
            ):
                delivery = self._judge(response)
                await _drain(response)
        except (TimeoutError, httpcore.TimeoutException) as error:
            # once the status is there, what becomes of the rest of the answer does not matter
            return delivery or Delivery(Disposition.RETRYABLE, _said(error, "no answer in time"), "Timeout")
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            broke = _said(error, "the connection broke")
            return delivery or Delivery(Disposition.RETRYABLE, broke, "ConnectionFailed")
        return delivery

    def _headers(self, message: Message) -> Headers:
        headers = [*_HEADERS, (b"Idempotency-Key", message.key.encode())]
        if self._resent:
            headers += sent_headers(message.headers, self._resent)
        if self._authenticate is not None:
            headers += self._authenticate(message.key, message.body, self._clock.now())
        return headers

    def _judge(self, response: httpcore.Response) -> Delivery:
        status = response.status
        answer = str(status)
        if 200 <= status < 300:
            return Delivery(Disposition.DELIVERED, answer)
        if status in _RETRYABLE:
            wait = retry_after(_header(response, b"retry-after"), self._clock.now().to_datetime())
            return Delivery(Disposition.RETRYABLE, answer, _word(status), wait)
        if 300 <= status < 400:
            place = _header(response, b"location")
            return Delivery(
                Disposition.REFUSED, f"{status}, to {place[:200]}; it is not followed", "Redirected"
            )
        return Delivery(Disposition.REFUSED, answer, _word(status))


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds from a `Retry-After` (RFC 9110: seconds, or a date); None where it says nothing sensible."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, (instant_of(moment).micros - instant_of(now).micros) / 1_000_000)


async def _drain(response: httpcore.Response) -> None:
    """Reads a short body to its end; a long one is left, and its connection is closed."""
    read = 0
    async for part in response.aiter_stream():
        read += len(part)
        if read > _READ_BYTES:
            return


def _header(response: httpcore.Response, name: bytes) -> str:
    found = next((value for key, value in response.headers if key.lower() == name), b"")
    return found.decode("latin-1").strip()


def _word(status: int) -> str:
    """`ServiceUnavailable` for 503."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        return f"Status{status}"
    return "".join(part.capitalize() for part in phrase.replace("-", " ").replace("'", "").split())


def _said(error: Exception, otherwise: str) -> str:
    return f"{otherwise}: {error}"[:300] if str(error) else otherwise
