"""Every request on the wire is told of, and what it came to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.errors import call
from pik.aws.observing import CallResult
from pik.aws.system import ThreadOffload
from pik.domain.errors import PikError


class Heard:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, CallResult, int]] = []
        self.seconds: list[float] = []

    def answered(
        self, service: str, operation: str, result: CallResult, seconds: float, attempt: int
    ) -> None:
        self.calls.append((service, operation, result, attempt))
        self.seconds.append(seconds)


@asynccontextmanager
async def answering(status: str, body: str) -> AsyncIterator[str]:
    """A server that answers every request alike."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-l")
            ),
            0,
        )
        await reader.readexactly(length)
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def heard(endpoint: str, service: str, operation: str, **arguments: object) -> Heard:
    told = Heard()
    clients = AwsClients(AwsAccess(endpoint), told)
    io = ThreadOffload(1)
    try:
        await call(io, getattr(clients.client(service), operation), **arguments)  # type: ignore[call-overload]
    except PikError:
        pass
    finally:
        io.close()
    return told


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        ("200 OK", "{}", CallResult.OK),
        ("400 Bad Request", '{"__type": "x#ConditionalCheckFailedException"}', CallResult.UNMET),
        ("400 Bad Request", '{"__type": "x#ResourceNotFoundException"}', CallResult.NOT_FOUND),
        ("400 Bad Request", '{"__type": "x#AccessDeniedException"}', CallResult.DENIED),
        ("400 Bad Request", '{"__type": "x#ValidationException"}', CallResult.REFUSED),
        (
            "200 OK",
            '{"Responses": [{}, {"Error": {"Code": "ThrottlingError", "Message": "slow"}}]}',
            CallResult.THROTTLED,
        ),
    ],
)
async def test_what_a_request_came_to(
    monkeypatch: pytest.MonkeyPatch, status: str, body: str, result: CallResult
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    async with answering(status, body) as endpoint:
        told = await heard(endpoint, "dynamodb", "batch_execute_statement", Statements=[])
    assert told.calls == [("dynamodb", "BatchExecuteStatement", result, 1)]
    assert 0 < told.seconds[0] < 60


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("left", "result"), [("{}", CallResult.OK), ('{"t": {"Keys": [{}]}}', CallResult.THROTTLED)]
)
async def test_items_by_table_are_no_answers_to_statements(
    monkeypatch: pytest.MonkeyPatch, left: str, result: CallResult
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    body = f'{{"Responses": {{"t": [{{"pk": {{"S": "1"}}}}]}}, "UnprocessedKeys": {left}}}'
    async with answering("200 OK", body) as endpoint:
        told = await heard(endpoint, "dynamodb", "batch_get_item", RequestItems={})
    assert told.calls == [("dynamodb", "BatchGetItem", result, 1)]


@pytest.mark.loopback
async def test_a_head_has_no_body_to_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    async with answering("404 Not Found", "") as endpoint:
        told = await heard(endpoint, "s3", "head_object", Bucket="b", Key="k")
    assert told.calls == [("s3", "HeadObject", CallResult.NOT_FOUND, 1)]


@pytest.mark.loopback
async def test_every_try_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    async with answering("400 Bad Request", '{"__type": "x#ThrottlingException"}') as endpoint:
        told = await heard(endpoint, "dynamodb", "list_tables")
    assert told.calls == [("dynamodb", "ListTables", CallResult.THROTTLED, n) for n in (1, 2, 3, 4)]


@pytest.mark.loopback
async def test_nobody_there_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    told = await heard("http://127.0.0.1:1", "s3", "get_object", Bucket="b", Key="k")
    assert Counter(call[2] for call in told.calls) == {CallResult.UNANSWERED: 4}
