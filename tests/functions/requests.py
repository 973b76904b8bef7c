"""Requests to one stream, each with what it is to the gateway; whatever takes events answers them alike."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

EVENTS = "/v1/streams/default/s/events"
EVENT = {
    "source": "shop",
    "event_type": "paid",
    "entity_id": "order-1",
    "event_time": "2013-07-10T04:00:00Z",
    "payload": {"amount": 1.5},
    "idempotency_key": "k1",
}
CLOUD_EVENT = {
    "specversion": "1.0",
    "id": "k1",
    "source": "shop",
    "type": "paid",
    "subject": "order-1",
    "time": "2013-07-10T06:00:00+02:00",
    "data": {"amount": 1.5},
}


class Case(NamedTuple):
    """`path`: at the function, where `/` is the stream's own. `stored`: rows that it adds."""

    name: str
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    method: str = "POST"
    path: str = "/"
    stored: int = 0

    @property
    def gateway_path(self) -> str:
        return EVENTS if self.path == "/" else self.path


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _typed(content_type: str) -> dict[str, str]:
    return {"content-type": content_type}


def _again(**changes: Any) -> dict[str, Any]:
    return {**EVENT, **changes}


CASES = (
    Case("an event, by the gateway's path", _json(EVENT), _typed("application/json"), path=EVENTS, stored=1),
    Case("the same again", _json(EVENT), _typed("application/json"), stored=1),
    Case("another content", _json(_again(payload=2)), _typed("application/json"), stored=1),
    Case(
        "its bytes are kept",
        b'{"source":"shop","event_type":"paid","entity_id":"\xc3\xa9","event_time":"2013-07-10T04:00:00Z",'
        b'"payload":{"n":12345678901234567890.10, "s":"\\u00e9"},"idempotency_key":"k9"}',
        _typed("application/json"),
        stored=1,
    ),
    Case(
        "a batch",
        _json([_again(idempotency_key=f"b{n}") for n in range(4)] + [_again(entity_id="")]),
        _typed("application/json"),
        stored=4,
    ),
    Case(
        "lines",
        b"\n".join(_json(_again(idempotency_key=f"l{n}")) for n in range(3)),
        _typed("application/x-ndjson"),
        stored=3,
    ),
    Case("a CloudEvent", _json(CLOUD_EVENT), _typed("application/cloudevents+json"), stored=1),
    Case(
        "a batch of CloudEvents",
        _json([{**CLOUD_EVENT, "id": "c1"}, {**CLOUD_EVENT, "id": "c2"}]),
        _typed("application/cloudevents-batch+json"),
        stored=2,
    ),
    Case("nothing but what is rejected", b'{"source": 1}', _typed("application/json")),
    Case("no JSON", b"[1,", _typed("application/json")),
    Case("nothing", b"", _typed("application/json")),
    Case("too large", b"x" * 4_001, _typed("application/json")),
    Case("an event that is too large", _json(_again(payload="x" * 1_001)), _typed("application/json")),
    Case("another type", b"a,b", _typed("text/csv")),
    Case("an encoding", b"{}", {"content-encoding": "gzip", **_typed("application/json")}),
    Case("by GET", method="GET"),
    Case("another stream", b"{}", _typed("application/json"), path="/v1/streams/default/other/events"),
    Case("no stream", b"{}", _typed("application/json"), path="/v1/streams"),
)
