"""The fault proxy itself: what a client sees of each fault, and what the emulator has seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError

from faults.policy import Fault, Kind, Policy, When, nothing, script, sometimes
from faults.proxy import FaultProxy, faulty

pytestmark = pytest.mark.emulator


def client(service: str, endpoint: str) -> Any:
    config = Config(
        retries={"total_max_attempts": 1}, read_timeout=0.5, proxies={}, s3={"addressing_style": "path"}
    )
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=config,
    )


class Table:
    """A queue and a bucket behind the proxy."""

    def __init__(self, proxy: FaultProxy, unique: str) -> None:
        self.proxy = proxy
        self.sqs, self.s3 = client("sqs", proxy.endpoint), client("s3", proxy.endpoint)
        self.url = self.sqs.create_queue(QueueName=unique)["QueueUrl"]
        self.s3.create_bucket(Bucket=unique)
        self.bucket = unique

    def put(self, key: str, body: bytes = b"x" * 1_000) -> Any:
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def keys(self) -> list[str]:
        self.proxy.policy = nothing
        listed = self.s3.list_objects_v2(Bucket=self.bucket)
        return [each["Key"] for each in listed.get("Contents", [])]


def always(fault: Fault) -> Policy:
    return lambda _: fault


def error_of(act: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        act()
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_each_service_fails_in_its_own_words(emulator: str, unique: str) -> None:
    with faulty(emulator, nothing) as proxy:
        table = Table(proxy, unique)
        kinesis, functions = client("kinesis", proxy.endpoint), client("lambda", proxy.endpoint)
        dynamodb, sts = client("dynamodb", proxy.endpoint), client("sts", proxy.endpoint)
        events = client("events", proxy.endpoint)
        proxy.policy = always(Fault(Kind.THROTTLE, retry_after=3))
        assert error_of(lambda: table.put("a")) == (503, "SlowDown")
        assert error_of(dynamodb.list_tables) == (400, "ProvisionedThroughputExceededException")
        assert error_of(kinesis.list_streams) == (400, "ProvisionedThroughputExceededException")
        assert error_of(sts.get_caller_identity) == (400, "ThrottlingException")
        assert error_of(events.list_rules) == (400, "ThrottlingException")
        with pytest.raises(ClientError) as caught:
            functions.invoke(FunctionName="f", Payload=b"{}")
        assert caught.value.response["retryAfterSeconds"] == "3"  # type: ignore[typeddict-item]
        proxy.policy = always(Fault(Kind.ERROR))
        assert error_of(lambda: table.put("a")) == (500, "InternalError")
        assert error_of(lambda: functions.invoke(FunctionName="f", Payload=b"{}"))[1] == "ServiceException"
        proxy.policy = always(Fault(Kind.CODE, code="AccessDenied", status=403))
        assert error_of(lambda: table.put("a")) == (403, "AccessDenied")
        assert table.keys() == []
        assert proxy.counts["lambda.Invoke", "Throttle"] == 1
        assert not any(entry.forwarded for entry in proxy.log if entry.fault is not None)


@pytest.mark.parametrize(
    ("fault", "error", "landed"),
    [
        (Fault(Kind.RESET), ConnectionClosedError, False),
        (Fault(Kind.RESET, When.AFTER), ConnectionClosedError, True),
        (Fault(Kind.ERROR, When.AFTER), ClientError, True),
        (Fault(Kind.SILENCE), ReadTimeoutError, False),
        (Fault(Kind.SILENCE, When.AFTER), ReadTimeoutError, True),
    ],
    ids=str,
)
def test_a_request_is_lost_before_or_its_answer_after(
    emulator: str, unique: str, fault: Fault, error: type[Exception], landed: bool
) -> None:
    with faulty(emulator, nothing) as proxy:
        table = Table(proxy, unique)
        proxy.policy = always(fault)
        with pytest.raises(error):
            table.put("a")
        assert proxy.log[-1].forwarded is landed
        assert table.keys() == (["a"] if landed else [])


def test_half_a_body_is_seen_to_be_half(emulator: str, unique: str) -> None:
    with faulty(emulator, nothing) as proxy:
        table = Table(proxy, unique)
        table.put("a")
        proxy.policy = script({"s3.GET": [None, Fault(Kind.TRUNCATE)]})
        assert len(table.s3.get_object(Bucket=unique, Key="a")["Body"].read()) == 1_000
        answer = table.s3.get_object(Bucket=unique, Key="a")
        assert answer["ContentLength"] == 1_000
        with pytest.raises(BotoCoreError):
            answer["Body"].read()


def test_entries_that_fail_are_not_forwarded_and_the_others_are(emulator: str, unique: str) -> None:
    with faulty(emulator, nothing) as proxy:
        table = Table(proxy, unique)
        kinesis, events = client("kinesis", proxy.endpoint), client("events", proxy.endpoint)
        kinesis.create_stream(StreamName=unique, ShardCount=1)
        proxy.policy = always(Fault(Kind.PART, entries=[0, 2]))
        entries = [{"Id": str(n), "MessageBody": f"m{n}"} for n in range(4)]
        told = table.sqs.send_message_batch(QueueUrl=table.url, Entries=entries)
        assert [each["Id"] for each in told["Successful"]] == ["1", "3"]
        assert [each["Id"] for each in told["Failed"]] == ["0", "2"]
        records = [{"Data": f"r{n}".encode(), "PartitionKey": "k"} for n in range(4)]
        put = kinesis.put_records(StreamName=unique, Records=records)
        assert put["FailedRecordCount"] == 2
        assert ["ErrorCode" in each for each in put["Records"]] == [True, False, True, False]
        put = events.put_events(Entries=[{"Source": "s", "DetailType": "d", "Detail": "{}"}])
        assert (put["FailedEntryCount"], put["Entries"][0]["ErrorCode"]) == (1, "InternalFailure")
        assert not proxy.log[-1].forwarded
        proxy.policy = nothing
        got = table.sqs.receive_message(QueueUrl=table.url, MaxNumberOfMessages=10)["Messages"]
        assert [each["Body"] for each in got] == ["m1", "m3"]
        shard = kinesis.list_shards(StreamName=unique)["Shards"][0]["ShardId"]
        start = kinesis.get_shard_iterator(
            StreamName=unique, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        assert [each["Data"] for each in kinesis.get_records(ShardIterator=start)["Records"]] == [
            b"r1",
            b"r3",
        ]


def test_the_same_seed_is_the_same_fate_and_the_share_is_kept(emulator: str, unique: str) -> None:
    def run(seed: int, name: str) -> list[str]:
        with faulty(emulator, nothing) as proxy:
            table = Table(proxy, name)
            proxy.policy, proxy.numbers = sometimes(seed, 0.3, spared=["sqs"]), type(proxy.numbers)()
            for n in range(60):
                try:
                    table.put(f"{n:03}", b"")
                except (ClientError, BotoCoreError):
                    continue
            return [str(entry.fault or "") for entry in proxy.log if entry.call.operation == "PUT"][1:]

    first, again, other = run(1, unique), run(1, f"{unique}-b"), run(2, f"{unique}-c")
    assert first == again != other
    assert 10 <= sum(fault != "" for fault in first) <= 26
    assert len(set(first)) >= 5
