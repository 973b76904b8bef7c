"""The shorter way to AWS: the same answers as botocore's, and botocore's where it has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from zlib import crc32

import pytest

from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_table import DynamoTable
from pik.aws.observing import CallResult
from pik.aws.s3_objects import S3ObjectStore
from pik.aws.system import ThreadOffload
from pik.domain.errors import AlreadyExists, NoSuchTable, Throttled, Unavailable
from pik.domain.instants import Instant
from pik.memory.system import ManualClock, SeededEntropy

pytestmark = pytest.mark.loopback
ANSWERED = '{"Item": {"pk": {"S": "k"}}}'
KEY = {"pk": {"S": "k"}}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


class Server:
    """Answers with what it is told, in turn, the last of it for ever. `botocore`: for each request, whether
    botocore's whole client has sent it."""

    def __init__(self, answers: list[tuple[str, str, str]]) -> None:
        self._answers = answers
        self.botocore: list[bool] = []
        self.heads: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        await reader.readexactly(int(lines.get("content-length", "0")))
        self.heads.append(head)
        self.botocore.append("amz-sdk-invocation-id" in lines)
        status, headers, body = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if status:
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n".encode())
            writer.write(f"Connection: close\r\n{headers}\r\n{body}".encode())
            await writer.drain()
        writer.close()


class Heard:
    def __init__(self) -> None:
        self.calls: list[tuple[str, CallResult, int]] = []

    def answered(
        self, service: str, operation: str, result: CallResult, seconds: float, attempt: int
    ) -> None:
        self.calls.append((operation, result, attempt))


Made = tuple[Server, DynamoTable, S3ObjectStore, Heard]


@asynccontextmanager
async def serving(*answers: tuple[str, str, str]) -> AsyncIterator[Made]:
    server = Server(list(answers))
    heard = Heard()
    io = ThreadOffload(1)
    async with await asyncio.start_server(server.answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        clients = AwsClients(AwsAccess(f"http://127.0.0.1:{port}"), heard)
        clock = ManualClock(Instant(0))
        dynamodb = clients.quick_dynamodb(clients.client("dynamodb"))
        table = DynamoTable(dynamodb, "table", io, clock, SeededEntropy(1))
        yield server, table, S3ObjectStore(clients.quick_s3(clients.client("s3")), "bucket", io, clock), heard
    io.close()


async def test_what_goes_well_is_asked_once_and_signed() -> None:
    async with serving(("200 OK", f"x-amz-crc32: {crc32(ANSWERED.encode())}\r\n", ANSWERED)) as made:
        server, table, _, heard = made
        assert await table.get(KEY) == KEY
    assert server.botocore == [False]
    assert "authorization: aws4-hmac-sha256 credential=000000000000/" in server.heads[0]
    assert heard.calls == [("GetItem", CallResult.OK, 1)]


@pytest.mark.parametrize(
    "odd",
    [
        ("", "", ""),  # no answer at all
        ("500 Internal Server Error", "", "{}"),
        ("400 Bad Request", "", '{"__type": "x#ThrottlingException"}'),
        ("200 OK", "x-amz-crc32: 1\r\n", ANSWERED),
        ("200 OK", "", ANSWERED[:9]),
    ],
)
async def test_what_does_not_is_asked_of_the_whole_client(odd: tuple[str, str, str]) -> None:
    async with serving(odd, ("200 OK", "", ANSWERED)) as (server, table, _, heard):
        assert await table.get(KEY) == KEY
    assert server.botocore == [False, True]
    assert heard.calls[0][1] is not CallResult.OK
    assert heard.calls[-1] == ("GetItem", CallResult.OK, 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (("", "", ""), Unavailable),
        (("400 Bad Request", "", '{"__type": "x#ThrottlingException"}'), Throttled),
        (("400 Bad Request", "", '{"__type": "x#ResourceNotFoundException"}'), NoSuchTable),
    ],
)
async def test_errors_are_what_the_whole_client_makes_of_them(
    answer: tuple[str, str, str], error: type[Exception]
) -> None:
    async with serving(answer) as (_, table, _, _):
        with pytest.raises(error):
            await table.get(KEY)


async def test_a_condition_that_does_not_hold_is_an_answer() -> None:
    reasons = '[{"Code": "None"}, {"Code": "ConditionalCheckFailed"}]'
    cancelled = f'{{"__type": "x#TransactionCanceledException", "CancellationReasons": {reasons}}}'
    async with serving(
        ("400 Bad Request", "", '{"__type": "x#ConditionalCheckFailedException", "message": "no"}'),
        ("400 Bad Request", "", cancelled),
        ("412 Precondition Failed", "", "<Error/>"),
    ) as (server, table, store, heard):
        assert not await table.put_if(KEY, "attribute_not_exists(pk)", {":x": {"S": "x"}})
        assert await table.transact([{"Put": {}}, {"Put": {}}]) == [1]
        with pytest.raises(AlreadyExists):
            await store.create("key", b"body")
    assert not any(server.botocore)
    assert [result for _, result, _ in heard.calls] == [CallResult.UNMET] * 3


async def test_an_object_that_came_damaged_is_read_again() -> None:
    headers = 'ETag: "e"\r\nLast-Modified: Wed, 10 Jul 2013 04:00:00 GMT\r\n'
    damaged = ("200 OK", f"{headers}x-amz-checksum-crc32: AAAAAA==\r\n", "body")
    async with serving(damaged, ("200 OK", headers, "body")) as (server, _, store, _):
        assert (await store.read("key")).body == b"body"
    assert server.botocore == [False, True]


class Caught(BaseException):
    """A request is known, and need not be sent."""


@pytest.mark.parametrize("region", ["eu-west-1", "us-east-1", "me-south-1", "us-gov-west-1", "cn-north-1"])
@pytest.mark.parametrize("bucket", ["plain", "with.dots"])
def test_objects_are_where_botocore_has_them(
    monkeypatch: pytest.MonkeyPatch, region: str, bucket: str
) -> None:
    """In the bucket's own region: a signed URL of botocore's would be of the global endpoint."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    clients = AwsClients(AwsAccess(region=region))
    s3: Any = clients.client("s3")
    quick: Any = clients.quick_s3(s3)
    sent: list[str] = []

    def catch(request: Any, **_: Any) -> None:
        sent.append(request.url)
        raise Caught

    s3.meta.events.register("before-send.s3", catch)
    for key in ("x", "raw/stream=1/a b+c~d/é%25.parquet"):
        with pytest.raises(Caught):
            s3.get_object(Bucket=bucket, Key=key)
        assert quick._url(bucket, key) == sent[-1]


async def test_without_credentials_the_whole_client_says_so() -> None:
    async with serving(("200 OK", "", ANSWERED)) as (server, _, _, heard):
        clients = AwsClients(AwsAccess("http://127.0.0.1:1"), heard)
        client: Any = clients.client("dynamodb")
        clients._session.get_credentials = lambda: None
        quick = clients.quick_dynamodb(client)
        client.get_item = lambda **_: {"Item": KEY}
        assert quick.get_item(TableName="t", Key=KEY) == {"Item": KEY}
    assert server.heads == []
