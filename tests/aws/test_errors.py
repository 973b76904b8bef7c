"""AWS's codes in pik's words, and what is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)

from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_table import DynamoTable
from pik.aws.errors import call, of_code, translated
from pik.aws.s3_objects import Lock, S3ObjectStore
from pik.aws.system import ThreadOffload
from pik.domain import errors
from pik.domain.instants import parse_instant
from pik.memory.system import InlineOffload, ManualClock, SeededEntropy

NOW = parse_instant("2013-07-10T04:00:00Z")


def client_error(code: str, status: int = 400, **more: Any) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": "m"},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **more,
    }
    return ClientError(answer, "Operation")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("SlowDown", 503, errors.Throttled),
        ("ThrottlingException", 400, errors.Throttled),
        ("ProvisionedThroughputExceededException", 400, errors.Throttled),
        ("ConditionalRequestConflict", 409, errors.Unavailable),
        ("InternalError", 500, errors.Unavailable),
        ("SomethingNew", 502, errors.Unavailable),
        ("AccessDenied", 403, errors.Denied),
        ("ExpiredToken", 400, errors.Denied),
        ("NoSuchBucket", 404, errors.NoSuchBucket),
        ("NoSuchKey", 404, errors.NoSuchObject),
        ("ResourceNotFoundException", 400, errors.NoSuchTable),
        ("ValidationException", 400, errors.Refused),
        ("SomethingNew", 400, errors.Refused),
    ],
)
def test_codes(code: str, status: int, kind: type[errors.PikError]) -> None:
    assert type(translated(client_error(code, status))) is kind
    assert code in str(of_code(code, "m", status))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), errors.Unavailable),
        (ConnectTimeoutError(endpoint_url="http://127.0.0.1:1"), errors.Unavailable),
        (ReadTimeoutError(endpoint_url="http://127.0.0.1:1"), errors.Unavailable),
        (NoCredentialsError(), errors.Denied),
        (ParamValidationError(report="r"), errors.Refused),
    ],
)
async def test_errors_without_an_answer(error: Exception, kind: type[errors.PikError]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(kind) as caught:
        await call(InlineOffload(), fail)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


class Scripted:
    """A client that answers as told, whatever it is asked, and remembers what that was."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answer(**request: Any) -> Any:
            self.asked.append(request)
            given = self.answers.pop(0)
            if isinstance(given, Exception):
                raise given
            return given

        return answer


def table(*answers: Any) -> tuple[DynamoTable, Scripted, ManualClock]:
    client: Any = Scripted(*answers)
    clock = ManualClock(NOW)
    return DynamoTable(client, "table", InlineOffload(), clock, SeededEntropy(1)), client, clock


def refused(code: str) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": "m"}}


async def test_a_throttled_statement_is_put_again_and_alone() -> None:
    dynamo, client, clock = table(
        {"Responses": [{}, refused("ThrottlingError"), refused("DuplicateItem")]},
        {"Responses": [refused("DuplicateItem")]},
    )
    assert sorted(await dynamo.insert("INSERT", [[{"S": "a"}], [{"S": "b"}], [{"S": "c"}]])) == [1, 2]
    assert [[s["Parameters"] for s in asked["Statements"]] for asked in client.asked] == [
        [[{"S": "a"}], [{"S": "b"}], [{"S": "c"}]],
        [[{"S": "b"}]],
    ]
    assert clock.now() > NOW  # it waited


async def test_patience_ends() -> None:
    dynamo, client, clock = table(*[{"Responses": [refused("ProvisionedThroughputExceeded")]}] * 6)
    with pytest.raises(errors.Throttled):
        await dynamo.insert("INSERT", [[]])
    assert not client.answers
    assert clock.now().micros - NOW.micros < 10_000_000


async def test_a_refused_statement_is_not_asked_again() -> None:
    dynamo, _, _ = table({"Responses": [refused("ValidationError")]})
    with pytest.raises(errors.Refused, match="ValidationError"):
        await dynamo.insert("INSERT", [[]])
    dynamo, _, _ = table({"Responses": [refused("ResourceNotFound")]})
    with pytest.raises(errors.NoSuchTable):
        await dynamo.insert("INSERT", [[]])
    dynamo, _, _ = table({"Responses": [refused("AccessDenied")]})
    with pytest.raises(errors.Denied):
        await dynamo.insert("INSERT", [[]])


async def test_keys_left_unread_are_read_again() -> None:
    left = {"table": {"Keys": [{"pk": {"S": "b"}}], "ConsistentRead": True}}
    dynamo, client, _ = table(
        {"Responses": {"table": [{"pk": {"S": "a"}}]}, "UnprocessedKeys": left},
        {"Responses": {"table": [{"pk": {"S": "b"}}]}, "UnprocessedKeys": {}},
    )
    keys = [{"pk": {"S": "a"}}, {"pk": {"S": "b"}}]
    assert await dynamo.get_all(keys) == keys
    assert client.asked[0]["RequestItems"]["table"]["ConsistentRead"]
    assert client.asked[1]["RequestItems"] == left


def cancelled(*codes: str) -> ClientError:
    return client_error(
        "TransactionCanceledException", CancellationReasons=[{"Code": code} for code in codes]
    )


async def test_a_transaction_that_met_another_is_tried_again() -> None:
    dynamo, client, _ = table(cancelled("TransactionConflict", "None"), {})
    assert await dynamo.transact([{}, {}]) == []
    assert not client.answers


async def test_a_transaction_whose_conditions_failed_says_which() -> None:
    dynamo, _, _ = table(cancelled("None", "ConditionalCheckFailed", "TransactionConflict"))
    assert await dynamo.transact([{}, {}, {}]) == [1]


async def test_a_transaction_that_is_wrong_is_refused() -> None:
    dynamo, _, _ = table(cancelled("None", "ValidationError"))
    with pytest.raises(errors.Refused, match="ValidationError"):
        await dynamo.transact([{}, {}])
    dynamo, _, _ = table(client_error("AccessDeniedException"))
    with pytest.raises(errors.Denied):
        await dynamo.transact([{}])


async def test_raw_objects_are_locked_and_no_others() -> None:
    answer = {"ResponseMetadata": {"HTTPHeaders": {"date": "Wed, 10 Jul 2013 04:00:00 GMT"}}}
    client: Any = Scripted(answer, answer)
    lock = Lock("p/raw/", "COMPLIANCE", 30)
    store = S3ObjectStore(client, "b", InlineOffload(), ManualClock(NOW), lock)
    await store.create("p/raw/x", b"")
    await store.create("p/runs/x", b"")
    raw, run = client.asked
    assert raw["ObjectLockMode"] == "COMPLIANCE"
    assert raw["ObjectLockRetainUntilDate"].isoformat() == "2013-08-09T04:00:00+00:00"
    assert "ObjectLockMode" not in run
    assert raw["IfNoneMatch"] == run["IfNoneMatch"] == "*"


def test_no_proxy_for_an_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:1")
    client = AwsClients(AwsAccess("http://127.0.0.1:4999")).client("s3")
    assert client.meta.endpoint_url == "http://127.0.0.1:4999"
    assert client.meta.config.proxies == {}
    assert client.meta.region_name == "us-east-1"


def test_another_emulator_than_the_one_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    with pytest.raises(errors.Refused, match="4566"):
        AwsClients(AwsAccess("http://127.0.0.1:4999")).client("s3")


@pytest.mark.loopback
async def test_a_body_that_breaks_off_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\nETag: "e"\r\n'
            b"Last-Modified: Wed, 10 Jul 2013 04:00:00 GMT\r\nConnection: close\r\n\r\nhalf of it"
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    io = ThreadOffload(1)
    async with server:
        client = AwsClients(AwsAccess(f"http://127.0.0.1:{port}")).client("s3")
        store = S3ObjectStore(client, "b", io, ManualClock(NOW))
        with pytest.raises(errors.Unavailable):
            await store.read("key")
    io.close()


@pytest.mark.loopback
async def test_nobody_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    client = AwsClients(AwsAccess("http://127.0.0.1:1")).client("s3")
    store = S3ObjectStore(client, "bucket", InlineOffload(), ManualClock(NOW))
    with pytest.raises(errors.Unavailable):
        await store.read("x")


@pytest.fixture
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.mark.usefixtures("nothing_configured")
def test_a_region_that_nobody_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.Refused, match="no AWS region is configured"):
        AwsClients(AwsAccess()).client("dynamodb")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert AwsClients(AwsAccess()).client("dynamodb").meta.region_name == "eu-central-1"
    assert AwsClients(AwsAccess(region="us-west-2")).client("dynamodb").meta.region_name == "us-west-2"


@pytest.mark.usefixtures("nothing_configured")
def test_a_profile_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(errors.Refused, match="nobody"):
        AwsClients(AwsAccess())
