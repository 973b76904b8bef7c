"""What a producer sees over HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import httpx
import msgspec
import pytest

from functions.requests import EVENT, EVENTS
from gateway.asgi import call
from pik.domain.arrivals import Outcome
from pik.domain.errors import Overloaded, PikError, Unavailable
from pik.domain.intake import IntakeRules
from pik.execution.capture.answers import Answer
from pik.execution.capture.capture import Capture
from pik.execution.capture.replays import ReplayClaims
from pik.execution.capture.settings import CaptureSettings
from pik.execution.reindex import reindex
from pik.execution.retrying import Patience
from pik.gateway.app import Gateway
from pik.gateway.callers import Forbidden, Unauthenticated
from pik.gateway.doors import Door
from pik.gateway.server import CannotServe, serving
from pik.planning.replay.records import RunRecord
from simulation.capture_scenario import read_truth
from simulation.virtual_loop import run
from simulation.world import World


async def opened(rules: IntakeRules | None = None, **settings: Any) -> tuple[World, Gateway]:
    world = World(1)
    stream = world.process("gateway").stream()
    await reindex(stream, world.table.ensure)
    capture = Capture(stream, CaptureSettings(patience=Patience(2, 0.1, 0.1), **settings))
    claims = ReplayClaims(lambda stream_id: stream if stream_id == stream.layout.stream_id else None)
    door = Door(rules or IntakeRules(), capture, claims, stream.offload)
    return world, Gateway(lambda namespace, name: door if (namespace, name) == ("default", "s") else None)


def in_the_world(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def synchronous() -> None:
        run(test())

    synchronous.__name__ = test.__name__
    synchronous.__doc__ = test.__doc__
    return synchronous


@in_the_world
async def test_an_event_is_answered_and_stored_as_it_came() -> None:
    world, gateway = await opened()
    body = b'{"payload": {"amount":1.50},' + json.dumps(EVENT)[1:].replace('"payload"', '"note"').encode()
    response = await call(gateway, EVENTS, body, headers={"content-type": "application/json"})
    assert response.status == 200
    [answer] = response.body["answers"]
    assert answer["status"] == "ACCEPTED"
    assert answer["s3_key"].startswith("raw/stream=stream-1/ingest_date=")
    assert answer["ingest_lag_ms"] > 0
    [(_, row)] = read_truth(world).rows
    assert row.arrival.data == b'{"amount":1.50}'
    assert row.arrival.event_id == answer["event_id"]


@in_the_world
async def test_every_event_of_a_batch_has_its_own_answer() -> None:
    _, gateway = await opened()
    batch = [
        EVENT,
        EVENT,
        {**EVENT, "payload": 2},
        {**EVENT, "entity_id": ""},
        {**EVENT, "idempotency_key": "k2"},
    ]
    response = await call(gateway, EVENTS, json.dumps(batch).encode())
    assert response.status == 200
    assert [answer["status"] for answer in response.body["answers"]] == [
        "ACCEPTED",
        "DUPLICATE",
        "CONFLICT",
        "REJECTED",
        "ACCEPTED",
    ]
    assert response.body["answers"][3]["reason"]
    assert "event_id" not in response.body["answers"][3]


@in_the_world
async def test_a_plain_batch_is_answered_and_stored_as_each_event_would_be() -> None:
    world, gateway = await opened()
    events = [{**EVENT, "idempotency_key": f"k{number % 19}"} for number in range(20)]
    body = json.dumps({"events": events}, separators=(",", ":")).encode()
    response = await call(gateway, EVENTS, body.replace(b"1.5}", b"1.50}"))
    answers = response.body["answers"]
    assert [answer["status"] for answer in answers] == ["ACCEPTED"] * 19 + ["DUPLICATE"]
    [one] = (await call(gateway, EVENTS, json.dumps(events[3]).encode())).body["answers"]
    assert (one["status"], one["event_id"]) == ("CONFLICT", answers[3]["event_id"])
    stored = [row.arrival.data for _, row in read_truth(world).rows if row.outcome is Outcome.ACCEPTED]
    assert stored == [b'{"amount":1.50}'] * 19


@in_the_world
async def test_lines_and_cloud_events() -> None:
    _, gateway = await opened()
    lines = "\n".join(json.dumps({**EVENT, "idempotency_key": str(n)}) for n in range(3)).encode()
    response = await call(gateway, EVENTS, lines, headers={"content-type": "application/x-ndjson"})
    assert [answer["status"] for answer in response.body["answers"]] == ["ACCEPTED"] * 3
    event = {
        "specversion": "1.0",
        "id": "0",
        "source": "shop",
        "type": "paid",
        "subject": "order-1",
        "time": "2013-07-10T06:00:00+02:00",
        "data": {"amount": 1.50},
    }
    response = await call(
        gateway, EVENTS, json.dumps(event).encode(), headers={"content-type": "application/cloudevents+json"}
    )
    assert [answer["status"] for answer in response.body["answers"]] == ["DUPLICATE"]


@pytest.mark.parametrize(
    ("path", "body", "headers", "method", "status", "reason"),
    [
        (EVENTS, b"{", {}, "POST", 422, None),
        (EVENTS, b"", {}, "POST", 400, "MalformedBatch"),
        (EVENTS, b"[1,", {}, "POST", 400, "MalformedBatch"),
        (EVENTS, b"x" * 2_001, {}, "POST", 413, "BatchTooLarge"),
        (EVENTS, [b"x" * 1_500, b"x" * 1_500], {}, "POST", 413, "BatchTooLarge"),
        (EVENTS, b"", {"content-length": "2001"}, "POST", 413, "BatchTooLarge"),
        (EVENTS, b"a,b", {"content-type": "text/csv"}, "POST", 415, "UnsupportedMediaType"),
        (EVENTS, b"{}", {"content-encoding": "gzip"}, "POST", 415, "UnsupportedEncoding"),
        (EVENTS, b"", {}, "GET", 405, "MethodNotAllowed"),
        ("/v1/streams/default/other/events", b"{}", {}, "POST", 404, "StreamNotFound"),
        ("/v1/streams", b"{}", {}, "POST", 404, "NotFound"),
        (EVENTS, b'{"source": 1}', {}, "POST", 422, None),
    ],
)
def test_what_is_refused_takes_nothing(
    path: str, body: Any, headers: dict[str, str], method: str, status: int, reason: str | None
) -> None:
    async def main() -> None:
        world, gateway = await opened(IntakeRules(max_batch_bytes=2_000, max_event_bytes=1_000))
        response = await call(gateway, path, body, headers=headers, method=method)
        assert response.status == status
        if reason is not None:
            assert response.body["error"]["reason"] == reason
            assert response.body["error"]["message"]
        assert read_truth(world).rows == []

    run(main())


@in_the_world
async def test_overload_says_when_to_come_back() -> None:
    _, gateway = await opened(max_waiting=1, linger=5.0)
    first = asyncio.create_task(call(gateway, EVENTS, json.dumps(EVENT).encode()))
    await asyncio.sleep(0.1)
    second = await call(gateway, EVENTS, json.dumps(EVENT).encode())
    assert second.status == 429
    assert int(second.headers["retry-after"]) >= 1
    assert (await first).status == 200


@in_the_world
async def test_bodies_under_way_are_bounded() -> None:
    _, gateway = await opened(linger=5.0)
    gateway = Gateway(gateway._doors, held_bytes=300)
    body = json.dumps({**EVENT, "payload": "x" * 100}).encode()
    first = asyncio.create_task(call(gateway, EVENTS, body))
    await asyncio.sleep(0.1)
    assert (await call(gateway, EVENTS, body)).status == 429
    assert (await first).status == 200
    assert (await call(gateway, EVENTS, body)).status == 200


@in_the_world
async def test_invented_replays_are_not_looked_up_one_by_one() -> None:
    world, gateway = await opened()
    batch = [{**EVENT, "pikrun": f"{n:064x}", "pikstream": "stream-1"} for n in range(100)]
    response = await call(gateway, EVENTS, json.dumps(batch).encode())
    assert (response.status, response.body["error"]["reason"]) == (413, "BatchTooLarge")
    assert sum(call == "objects.read" for _, _, call in world.trace) < 5


@in_the_world
async def test_an_outage_is_503_and_the_second_try_is_answered() -> None:
    world, gateway = await opened()
    world.faults = replace(world.faults, refused=1.0)
    response = await call(gateway, EVENTS, json.dumps(EVENT).encode())
    assert (response.status, response.body["error"]["reason"]) == (503, "Unavailable")
    assert int(response.headers["retry-after"]) >= 1
    world.faults = replace(world.faults, refused=0.0)
    response = await call(gateway, EVENTS, json.dumps(EVENT).encode())
    assert [answer["status"] for answer in response.body["answers"]] == ["ACCEPTED"]


@in_the_world
async def test_a_deleted_table_is_503() -> None:
    world, gateway = await opened()
    world.table.drop()
    response = await call(gateway, EVENTS, json.dumps(EVENT).encode())
    assert (response.status, response.body["error"]["reason"]) == (503, "NotReady")


@in_the_world
async def test_a_closing_gateway_refuses_and_is_not_ready() -> None:
    _, gateway = await opened()
    assert (await call(gateway, "/readyz", method="GET")).status == 200
    gateway.close()
    assert (await call(gateway, "/readyz", method="GET")).status == 503
    assert (await call(gateway, "/healthz", method="GET")).status == 200
    assert (await call(gateway, EVENTS, json.dumps(EVENT).encode())).status == 503


@in_the_world
async def test_a_slow_body_is_given_up() -> None:
    _, gateway = await opened()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(3600)
        return {}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await gateway({"type": "http", "method": "POST", "path": EVENTS, "headers": []}, receive, send)
    assert sent[0]["status"] == 408


@in_the_world
async def test_a_replay_is_not_news() -> None:
    world, gateway = await opened()
    run_id = "ab" * 32
    marked = {**EVENT, "pikrun": run_id, "pikstream": "stream-1"}
    await call(gateway, EVENTS, json.dumps(EVENT).encode())
    response = await call(gateway, EVENTS, json.dumps(marked).encode())
    assert [answer["status"] for answer in response.body["answers"]] == ["DUPLICATE"], "no such run: ordinary"
    assert run_id in (read_truth(world).rows[-1][1].arrival.attributes or "")
    record = RunRecord(run_id, "stream-1", "default", "r", "1", "d", "p", None, "2013", "n")
    await (
        world.process("worker")
        .stream()
        .objects.create(f"{world.layout.run(run_id)}run.json", msgspec.json.encode(record))
    )
    response = await call(gateway, EVENTS, json.dumps(marked).encode())
    assert [answer["status"] for answer in response.body["answers"]] == ["REPLAYED"]
    row = read_truth(world).rows[-1][1]
    assert (row.outcome, row.arrival.replay_of) == (Outcome.REPLAYED, run_id)


@pytest.mark.loopback
async def test_it_serves_over_a_socket() -> None:
    gateway = Gateway(lambda *_: None)
    async with serving(gateway, "127.0.0.1", 0) as url, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{url}/healthz")).status_code == 200
        assert (await client.post(f"{url}{EVENTS}", json=EVENT)).status_code == 404
        with pytest.raises(CannotServe):
            async with serving(gateway, "127.0.0.1", int(url.rsplit(":", 1)[1])):
                pass


@pytest.mark.loopback
async def test_an_answer_is_sent_at_once_and_not_after_an_acknowledgement_of_its_first_part() -> None:
    delayed: list[bool] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        connection = send.__self__.transport.get_extra_info("socket")  # uvicorn's own
        delayed.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with serving(app, "127.0.0.1", 0) as url, httpx.AsyncClient(trust_env=False) as client:
        await client.get(url)
    assert delayed == [False]


class Guard:
    """An `Admission` that raises what it is told to."""

    def __init__(self, error: PikError | None) -> None:
        self.error = error
        self.seen: list[bytes | None] = []

    async def admit(self, authorization: bytes | None) -> None:
        self.seen.append(authorization)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (Unauthenticated("who?"), 401, ("www-authenticate", 'Bearer realm="pik"')),
        (Forbidden("not you"), 403, None),
        (Unavailable("nobody can tell"), 503, ("retry-after", "1")),
        (Overloaded("too many", 3.0), 429, ("retry-after", "3")),
    ],
)
def test_who_is_not_admitted_sends_nothing(
    error: PikError, status: int, header: tuple[str, str] | None
) -> None:
    async def main() -> None:
        world, gateway = await opened()
        guard = Guard(error)
        door = gateway._doors("default", "s")
        assert door is not None
        guarded = Gateway(lambda *_: replace(door, admission=guard))
        response = await call(
            guarded, EVENTS, json.dumps(EVENT).encode(), headers={"authorization": "Bearer x"}
        )
        assert (response.status, response.body["error"]["reason"]) == (status, type(error).__name__)
        if header is not None:
            assert response.headers[header[0]] == header[1]
        assert guard.seen == [b"Bearer x"]
        assert read_truth(world).rows == []
        guard.error = None
        assert (await call(guarded, EVENTS, json.dumps(EVENT).encode())).status == 200
        assert guard.seen[-1] is None

    run(main())


@in_the_world
async def test_a_bug_is_an_answer_that_is_counted_and_says_nothing_of_the_inside() -> None:
    heard = Heard()

    def broken(*_: str) -> Door | None:
        raise KeyError("inside")

    response = await call(Gateway(broken, observer=heard), EVENTS, json.dumps(EVENT).encode())
    assert (response.status, response.body["error"]["reason"]) == (500, "InternalError")
    assert "inside" not in json.dumps(response.body)
    assert heard.told == [("begins",), ("answered", 500), ("ends",)]


@in_the_world
async def test_a_gateway_that_drains_says_so_and_takes_what_comes() -> None:
    _, gateway = await opened()
    assert "connection" not in (await call(gateway, EVENTS, json.dumps(EVENT).encode())).headers
    gateway.drain()
    assert (await call(gateway, "/readyz", method="GET")).status == 503
    assert (await call(gateway, "/healthz", method="GET")).status == 200
    response = await call(gateway, EVENTS, json.dumps(EVENT).encode())
    assert (response.status, response.headers["connection"]) == (200, "close")


@in_the_world
async def test_it_is_not_ready_before_it_knows_its_streams() -> None:
    _, gateway = await opened()
    ready = False
    gateway = Gateway(gateway._doors, ready=lambda: ready)
    assert (await call(gateway, "/readyz", method="GET")).status == 503
    ready = True
    assert (await call(gateway, "/readyz", method="GET")).status == 200


class Heard:
    """A `GatewayObserver`."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    @contextmanager
    def request(self) -> Iterator[Heard]:
        self.told.append(("begins",))
        yield self
        self.told.append(("ends",))

    def to(self, namespace: str, name: str) -> None:
        self.told.append(("to", namespace, name))

    def took(self, size: int, answers: Sequence[Answer]) -> None:
        self.told.append(("took", size, [answer.status.value for answer in answers]))

    def failed(self, error: PikError) -> None:
        self.told.append(("failed", type(error).__name__))

    def answered(self, status: HTTPStatus) -> None:
        self.told.append(("answered", status.value))


@in_the_world
async def test_what_is_answered_can_be_observed() -> None:
    world, gateway = await opened()
    heard = Heard()
    gateway = Gateway(gateway._doors, observer=heard)
    body = json.dumps(EVENT).encode()
    await call(gateway, EVENTS, body)
    await call(gateway, "/v1/streams/default/made-up/events", body)
    world.table.drop()
    await call(gateway, EVENTS, body)
    await call(gateway, "/readyz", method="GET")
    stream = ("to", "default", "s")
    assert heard.told == [
        *[("begins",), stream, ("took", len(body), ["ACCEPTED"]), ("answered", 200), ("ends",)],
        *[("begins",), ("failed", "RequestRefused"), ("answered", 404), ("ends",)],
        *[("begins",), stream, ("failed", "NotReady"), ("answered", 503), ("ends",)],
    ]
