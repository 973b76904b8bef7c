"""Two ways for events of a file into a stream: over HTTP, or by this process itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import httpx
import msgspec
import stamina

from pik.domain.arrivals import Arrival
from pik.domain.errors import Incomplete, NotReady, Overloaded, Refused, Unavailable
from pik.domain.intake import Decoded, IntakeRules
from pik.execution.capture.answers import Answer
from pik.execution.capture.capture import Capture
from pik.execution.capture.replays import ReplayClaims

_PATIENCE = 60.0  # seconds of trying again with one batch
_MOST_WAIT = 30.0
_SECONDS = 60.0  # for one answer
_EMPTY = b"{}"


class Sender(Protocol):
    """Sends a batch, again where that helps. Safe: what was stored is answered as a repeat, or as it was."""

    async def send(self, events: Sequence[Decoded]) -> list[Answer]:
        """An answer for each, in order. Raises `PikError`: some may have been stored."""
        ...


class Captured:
    """By this process: it writes segments and index itself."""

    def __init__(self, capture: Capture, claims: ReplayClaims) -> None:
        self._capture = capture
        self._claims = claims

    async def send(self, events: Sequence[Decoded]) -> list[Answer]:
        async for attempt in stamina.retry_context(on=_again, timeout=_PATIENCE, attempts=None):
            with attempt:
                return await self._capture.ingest(await self._claims.judge(events))
        raise AssertionError("either an answer or an error came out of the last attempt")


class _Answers(msgspec.Struct):
    answers: list[Answer]


class Posted:
    """Over HTTP, to the gateway at `url`. Rows are sent as the importer writes them, so that both ways store
    the same bytes; other events in pik's own form."""

    def __init__(self, client: httpx.AsyncClient, url: str, rules: IntakeRules) -> None:
        self._client = client
        self._url = url
        self._takes_rows = rules.takes_rows
        self._most = rules.max_batch_bytes
        self._decoder = msgspec.json.Decoder(_Answers)

    async def send(self, events: Sequence[Decoded]) -> list[Answer]:
        lines = [event.arrival.data if self._takes_rows else kit_line(event) for event in events]
        body = b"\n".join(lines)
        if len(body) > self._most and len(events) > 1:
            half = len(events) // 2
            return [*await self.send(events[:half]), *await self.send(events[half:])]
        async for attempt in stamina.retry_context(on=_again, timeout=_PATIENCE, attempts=None):
            with attempt:
                answers = await self._post(body)
                if len(answers) != len(events):
                    raise Incomplete(f"{self._url} gave {len(answers)} answers to {len(events)} events")
                return answers
        raise AssertionError("either an answer or an error came out of the last attempt")

    async def _post(self, body: bytes) -> list[Answer]:
        try:
            response = await self._client.post(
                self._url, content=body, headers={"content-type": "application/x-ndjson"}, timeout=_SECONDS
            )
        except httpx.TransportError as error:
            raise Unavailable(
                f"{self._url}: {error or type(error).__name__}; --gateway names another way"
            ) from error
        if response.status_code in (200, 422):
            return self._decoder.decode(response.content).answers
        message = f"{self._url} answered {response.status_code}: {_said(response)}"
        if response.status_code in (429, 503):
            raise Overloaded(message, _seconds(response.headers.get("retry-after", "")))
        if response.status_code >= 500:
            raise Unavailable(message)
        raise Refused(message)


def kit_line(event: Decoded) -> bytes:
    """The event in pik's own form, on one line; its payload's bytes as they are."""
    arrival: Arrival = event.as_ordinary()
    told = {
        "source": arrival.source,
        "event_type": arrival.event_type,
        "entity_id": arrival.entity_id,
        "event_time": arrival.event_time_text,
    }
    if arrival.idempotency_key is not None:
        told["idempotency_key"] = arrival.idempotency_key
    head = msgspec.json.encode(told)[:-1]
    others = (arrival.attributes or "").encode().strip()
    more = b"," + others[1:-1] if len(others) > len(_EMPTY) else b""
    # a line break between a payload's tokens is space; within its texts JSON has none
    return head + b',"payload":' + arrival.data.replace(b"\n", b" ").replace(b"\r", b" ") + more + b"}"


def _again(error: Exception) -> bool | float:
    if isinstance(error, Overloaded):
        return min(error.retry_after, _MOST_WAIT)
    return isinstance(error, Unavailable | NotReady)


def _seconds(retry_after: str) -> float:
    """Seconds of a Retry-After header; 1 where it is a date, or nothing."""
    return float(retry_after) if retry_after.isdigit() else 1.0


def _said(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200] or response.reason_phrase
