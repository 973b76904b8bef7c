"""The HTTP sink against real servers that answer, hang, close, redirect and lie."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import httpcore
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.domain.errors import TargetForbidden
from pik.memory.system import ManualClock
from pik.planning.replay.addresses import (
    ForbiddenNetwork,
    forbidden,
    forbidden_host,
    forbidden_networks,
)
from pik.planning.replay.events import HEADERS
from pik.planning.replay.messages import Messages
from pik.ports.sinks import Batch, Delivery, Disposition
from pik.sinks.guard import GuardedBackend
from pik.sinks.http import HTTPSink, HTTPTimeouts, retry_after
from reading.streams import START
from replay.slices import event, messages

QUICK = HTTPTimeouts(connect=0.5, read=0.3, whole=0.6)
Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(handle: Handler) -> AsyncIterator[str]:
    """A server that reads one whole request after the other and hands it on."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lower = head.lower()
                at = lower.index(b"content-length:") + 15
                length = int(lower[at : lower.index(b"\r\n", at)])
                await handle(head + await reader.readexactly(length), writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = running.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/hook?x=1"
    finally:
        running.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answer(text: str) -> Handler:
    async def handle(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(text.encode())

    return handle


KEY = f"{1:064x}.{'a' * 16}".encode()


def message(data: bytes = b'{"a": 1.00}') -> Messages:
    sent = event(1, data=data)._replace(idempotency_key="its own key", attributes='{"traceparent": "00-1"}')
    return messages(sent)


async def post(url: str, timeouts: HTTPTimeouts = QUICK) -> Delivery:
    sink = HTTPSink(url, ManualClock(START), loopback=True, timeouts=timeouts)
    try:
        [delivery] = await sink.send(Batch("run", 0, 0, message()))
    finally:
        await sink.close()
    return delivery


@pytest.mark.loopback
async def test_an_event_is_posted_as_a_cloud_event_with_its_bytes_and_a_stable_key() -> None:
    requests: list[bytes] = []

    async def handle(request: bytes, writer: asyncio.StreamWriter) -> None:
        requests.append(request)
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")

    async with server(handle) as url:
        sink = HTTPSink(url, ManualClock(START), loopback=True)
        for _ in range(2):  # over the same connection
            assert await sink.send(Batch("run", 0, 0, message())) == [Delivery(Disposition.DELIVERED, "202")]
        await sink.close()
    assert requests[0] == requests[1]
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook?x=1 HTTP/1.1\r\n")
    assert b"Idempotency-Key: " + KEY in head
    assert b"application/cloudevents+json" in head
    assert body.endswith(b',"data":{"a": 1.00}}')
    assert orjson.loads(body) == {
        "specversion": "1.0",
        "id": "its own key",
        "source": "sensors",
        "type": "reading",
        "subject": "e1",
        "time": event(1).event_time_text,
        "datacontenttype": "application/json",
        "traceparent": "00-1",
        "pikrun": "a" * 64,
        "pikstream": "s",
        "data": {"a": 1.0},
    }


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("status", "disposition", "reason"),
    [
        ("200 OK", Disposition.DELIVERED, ""),
        ("204 No Content", Disposition.DELIVERED, ""),
        ("400 Bad Request", Disposition.REFUSED, "BadRequest"),
        ("404 Not Found", Disposition.REFUSED, "NotFound"),
        ("410 Gone", Disposition.REFUSED, "Gone"),
        ("408 Request Timeout", Disposition.RETRYABLE, "RequestTimeout"),
        ("429 Too Many", Disposition.RETRYABLE, "TooManyRequests"),
        ("500 Oops", Disposition.RETRYABLE, "InternalServerError"),
        ("503 Later", Disposition.RETRYABLE, "ServiceUnavailable"),
        ("599 What", Disposition.REFUSED, "Status599"),
    ],
)
async def test_a_status_means(status: str, disposition: Disposition, reason: str) -> None:
    async with server(answer(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")) as url:
        delivery = await post(url)
    assert (delivery.disposition, delivery.reason) == (disposition, reason)


@pytest.mark.loopback
async def test_retry_after_is_handed_on() -> None:
    async with server(answer("HTTP/1.1 429 No\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n")) as url:
        delivery = await post(url)
    assert delivery.retry_after == 17


def test_retry_after_may_be_a_date() -> None:
    now = datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
    assert retry_after("Wed, 21 Oct 2015 07:29:30 GMT", now) == 90
    assert retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now) == 0
    assert retry_after("soon", now) is None
    assert retry_after("", now) is None
    assert retry_after("-1", now) is None


@pytest.mark.loopback
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["http://169.254.169.254/latest", "http://127.0.0.1:1/", "/other"])
async def test_no_redirect_is_followed(code: int, place: str) -> None:
    requests = 0

    async def handle(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        writer.write(f"HTTP/1.1 {code} Go\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())

    async with server(handle) as url:
        delivery = await post(url)
    assert (delivery.disposition, delivery.reason, requests) == (Disposition.REFUSED, "Redirected", 1)
    assert place in delivery.answer


@pytest.mark.loopback
async def test_a_target_that_hangs_is_left_after_its_time() -> None:
    async def hang(request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with server(hang) as url:
        delivery = await post(url)
    assert (delivery.disposition, delivery.reason) == (Disposition.RETRYABLE, "Timeout")


@pytest.mark.loopback
async def test_an_answer_that_comes_drop_by_drop_is_left_after_its_time() -> None:
    async def drip(request: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK" + b" " * 1_000:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)  # within the read timeout, each time

    async with server(drip) as url:
        delivery = await post(url)
    assert (delivery.disposition, delivery.reason) == (Disposition.RETRYABLE, "Timeout")


@pytest.mark.loopback
async def test_a_target_that_closes_without_an_answer_may_have_taken_it() -> None:
    async def close(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with server(close) as url:
        delivery = await post(url)
    assert (delivery.disposition, delivery.reason) == (Disposition.RETRYABLE, "ConnectionFailed")


@pytest.mark.loopback
async def test_a_target_that_is_not_there_is_tried_later() -> None:
    async with server(answer("")) as url:
        pass
    assert (await post(url)).disposition is Disposition.RETRYABLE


@pytest.mark.loopback
async def test_what_speaks_no_http_is_tried_later() -> None:
    async with server(answer("220 mail.example.test ESMTP\r\n\r\n")) as url:
        assert (await post(url)).disposition is Disposition.RETRYABLE


@pytest.mark.loopback
async def test_a_status_counts_though_the_body_never_ends() -> None:
    async def flood(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 1_000_000)

    async def stall(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        await writer.drain()
        await asyncio.Event().wait()

    for handle in (flood, stall):
        async with server(handle) as url:
            assert await post(url) == Delivery(Disposition.DELIVERED, "200")


@pytest.mark.loopback
async def test_this_machine_is_no_target_unless_it_is_allowed() -> None:
    async with server(answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as url:
        for address in (url, url.replace("127.0.0.1", "localhost")):
            sink = HTTPSink(address, ManualClock(START))
            with pytest.raises(TargetForbidden, match="loopback"):
                await sink.send(Batch("run", 0, 0, message()))
            await sink.close()


class Recorder(httpcore.AsyncMockBackend):
    """Says where it was asked to connect to."""

    def __init__(self, *refuse: str) -> None:
        super().__init__([b"HTTP/1.1 200 OK\r\n", b"Content-Length: 0\r\n", b"\r\n"])
        self.asked: list[str] = []
        self._refuse = refuse

    async def connect_tcp(self, host: str, *args: object, **kwargs: object) -> httpcore.AsyncNetworkStream:
        self.asked.append(host)
        if host in self._refuse:
            raise httpcore.ConnectError("refused")
        return await super().connect_tcp(host, 80)


def names(*answers: list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    """A resolver that answers differently each time."""
    left = list(answers)

    async def resolver(host: str, port: int) -> list[str]:
        return left.pop(0)

    return resolver


async def test_the_connection_is_made_to_the_address_that_was_looked_at() -> None:
    network = Recorder()
    guard = GuardedBackend(network, loopback=False, resolver=names(["93.184.216.34"], ["169.254.169.254"]))
    await guard.connect_tcp("rebinding.example.test", 80)
    assert network.asked == ["93.184.216.34"]  # no name goes further, so none is resolved again
    with pytest.raises(TargetForbidden, match=r"169\.254\.169\.254"):
        await guard.connect_tcp("rebinding.example.test", 80)
    assert network.asked == ["93.184.216.34"]


async def test_one_forbidden_address_of_a_name_is_enough() -> None:
    network = Recorder()
    guard = GuardedBackend(network, loopback=False, resolver=names(["93.184.216.34", "fd00:ec2::254"]))
    with pytest.raises(TargetForbidden):
        await guard.connect_tcp("example.test", 80)
    assert network.asked == []


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    network = Recorder("93.184.216.34")
    guard = GuardedBackend(network, loopback=False, resolver=names(["93.184.216.34", "93.184.216.35"]))
    await guard.connect_tcp("example.test", 80)
    assert network.asked == ["93.184.216.34", "93.184.216.35"]


async def test_a_name_that_is_none_is_tried_later() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    guard = GuardedBackend(Recorder(), loopback=False, resolver=resolver)
    with pytest.raises(httpcore.ConnectError, match="cannot be resolved"):
        await guard.connect_tcp("example.test", 80)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "0.0.0.0",  # noqa: S104 - to be refused
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "::ffff:169.254.169.254",
        "::ffff:127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "::169.254.169.254",
    ],
)
def test_nothing_is_sent_to(address: str) -> None:
    assert forbidden(address, loopback=False)
    assert forbidden_host(address, loopback=False)


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "10.1.2.3", "192.168.1.1", "172.20.0.1", "100.64.0.1", "2606:2800::1", "fd12::1"],
)
def test_targets_in_a_private_network_are_fine(address: str) -> None:
    assert forbidden(address, loopback=False) is None


def test_loopback_is_fine_where_it_is_allowed_and_nothing_else_is() -> None:
    assert forbidden("127.0.0.1", loopback=True) is None
    assert forbidden("::1", loopback=True) is None
    assert forbidden("::ffff:127.0.0.1", loopback=True) is None
    assert forbidden("169.254.169.254", loopback=True)
    assert forbidden("::", loopback=True)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_in_every_ipv6_form(ip: ipaddress.IPv4Address) -> None:
    verdict = forbidden(str(ip), loopback=False)
    number = int(ip)
    forms = [0xFFFF << 32 | number, 0x0064FF9B << 96 | number, 0x2002 << 112 | number << 80 | 1]
    for form in forms:
        assert (forbidden(str(ipaddress.IPv6Address(form)), loopback=False) is None) == (verdict is None)


def api_server(address: str) -> tuple[ForbiddenNetwork, ...]:
    return forbidden_networks(address, "the API server")


@pytest.mark.parametrize(
    "address", ["10.96.0.1", "::ffff:10.96.0.1", "64:ff9b::a60:1", "2002:a60:1::1", "fd00:10:96::1"]
)
def test_what_an_installation_forbids_is_forbidden_in_every_form(address: str) -> None:
    networks = [*api_server("10.96.0.1"), *forbidden_networks(" fd00:10:96::/112, ", "mine")]
    assert forbidden(address, loopback=False) is None
    assert forbidden(address, loopback=False, networks=networks) in ("the API server", "mine")
    assert forbidden(address, loopback=True, networks=networks) in ("the API server", "mine")
    assert forbidden_host(address, loopback=False, networks=networks) is not None
    assert forbidden("10.96.0.2", loopback=False, networks=networks) is None


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "kubernetes.default", "10.0.0.1;10.0.0.2"])
def test_what_is_no_network_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is no network and no address")):
        forbidden_networks(f"10.0.0.0/8,{text}", "mine")


@given(st.ip_addresses(v=4), st.integers(min_value=0, max_value=32), st.ip_addresses(v=4))
def test_a_forbidden_network_is_forbidden_as_a_whole_and_nothing_beside_it(
    ip: ipaddress.IPv4Address, length: int, other: ipaddress.IPv4Address
) -> None:
    network = ipaddress.ip_network(f"{ip}/{length}", strict=False)
    networks = forbidden_networks(str(network), "mine")
    for each in (ip, other):
        verdict = forbidden(str(each), loopback=False, networks=networks)
        same_bits = int(each) >> (32 - length) == int(ip) >> (32 - length)
        assert (verdict == "mine") == same_bits
        if not same_bits:
            assert verdict == forbidden(str(each), loopback=False)


async def test_a_name_of_the_api_server_is_no_target_whatever_it_is_called() -> None:
    """Also where it has another address besides, and where the name changes in between."""
    network = Recorder()
    guard = GuardedBackend(
        network,
        loopback=False,
        networks=api_server("10.96.0.1"),
        resolver=names(["10.96.0.1"], ["93.184.216.34", "10.96.0.1"], ["::ffff:10.96.0.1"], ["10.96.0.2"]),
    )
    for host in ("kubernetes.default.svc", "innocent.example.test", "mapped.example.test"):
        with pytest.raises(TargetForbidden, match="the API server"):
            await guard.connect_tcp(host, 443)
    assert network.asked == []
    await guard.connect_tcp("neighbour.example.test", 443)
    assert network.asked == ["10.96.0.2"]


@pytest.mark.loopback
async def test_a_sink_sends_nothing_to_a_forbidden_network() -> None:
    async with server(answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as url:
        networks = forbidden_networks("127.0.0.0/8", "of the administrator")
        sink = HTTPSink(url, ManualClock(START), loopback=True, networks=networks)
        with pytest.raises(TargetForbidden, match="of the administrator"):
            await sink.send(Batch("run", 0, 0, message()))
        await sink.close()


@pytest.mark.loopback
async def test_kept_headers_are_sent_again_by_the_list_of_the_job() -> None:
    heads: list[bytes] = []

    async def handle(request: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(request.partition(b"\r\n\r\n")[0].lower())
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    sent = messages(event(1), event(2))
    kept = pa.array(['{"traceparent":"00-1","x-tenant":"a"}', None], pa.string())
    sent = replace(sent, events=sent.events.append_column(HEADERS, kept))
    async with server(handle) as url:
        sink = HTTPSink(url, ManualClock(START), loopback=True, resent=["x-tenant"])
        await sink.send(Batch("a" * 64, 0, 0, sent))
        await sink.close()
    assert b"\r\nx-tenant: a\r\n" in heads[0]
    assert b"traceparent" not in heads[0]
    assert b"x-tenant" not in heads[1]
