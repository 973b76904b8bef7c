"""The SQS sink against the emulator's queues, and against answers that the emulator does not give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.sqs_sink import FIFO_MEMORY, SQSSink, message_group
from pik.aws.system import ThreadOffload
from pik.domain.errors import Denied
from pik.memory.system import InlineOffload
from pik.planning.replay.batches import TargetOrder
from pik.ports.sinks import Batch, Disposition
from replay.slices import ReplayEvent, event, messages

RUN = "a" * 64


def batch(*events: ReplayEvent) -> Batch:
    return Batch(RUN, 0, 0, messages(*events, run=RUN))


@pytest.fixture
def io() -> Iterator[ThreadOffload]:
    pool = ThreadOffload(8, "aws")
    yield pool
    pool.close()


@pytest.fixture
def sqs(emulator: str) -> Any:
    return AwsClients(AwsAccess(endpoint_url=emulator, connections=8)).client("sqs")


def received(sqs: Any, url: str, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        answer = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
            WaitTimeSeconds=5,
        )
        messages = answer.get("Messages", [])
        if not messages:
            break
        for each in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        found += messages
    return found


async def test_a_standard_queue_gets_each_event_with_its_bytes(
    sqs: Any, io: ThreadOffload, unique: str
) -> None:
    url = sqs.create_queue(QueueName=unique)["QueueUrl"]
    sink = SQSSink(sqs, io, url)
    assert sink.traits.order is TargetOrder.NONE
    events = [event(n, f"e{n % 3}", data=b'{"n": 1.00, "u": "\\u00e9\xc3\xa9"}') for n in range(10)]
    deliveries = await sink.send(batch(*events))
    assert {d.disposition for d in deliveries} == {Disposition.DELIVERED}
    found = received(sqs, url, 10)
    assert sorted(orjson.loads(m["Body"])["id"] for m in found) == [e.event_id for e in events]
    assert all(m["Body"].encode().endswith(b',"data":' + events[0].data + b"}") for m in found)
    assert found[0]["MessageAttributes"]["pikrun"]["StringValue"] == RUN


async def test_a_fifo_queue_keeps_entities_in_groups_and_drops_repeats(
    sqs: Any, io: ThreadOffload, unique: str
) -> None:
    url = sqs.create_queue(QueueName=f"{unique}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    sink = SQSSink(sqs, io, url)
    assert (sink.traits.order, sink.traits.remembers_seconds) == (TargetOrder.MESSAGE, FIFO_MEMORY)
    events = [event(n, "an entity with spaces" if n % 2 else "plain") for n in range(6)]
    for each in events:
        await sink.send(batch(each))
    deliveries = await sink.send(batch(*events[:2]))  # again, as after a crash
    assert {d.disposition for d in deliveries} == {Disposition.DELIVERED}
    found = received(sqs, url, 8)
    assert len(found) == 6
    for group in ("plain", message_group("an entity with spaces")):
        ids = [orjson.loads(m["Body"])["id"] for m in found if m["Attributes"]["MessageGroupId"] == group]
        assert ids == sorted(ids)
        assert len(ids) == 3


async def test_a_queue_that_is_not_there_may_come(sqs: Any, io: ThreadOffload, unique: str) -> None:
    url = sqs.create_queue(QueueName=unique)["QueueUrl"]
    sqs.delete_queue(QueueUrl=url)
    [delivery] = await SQSSink(sqs, io, url).send(batch(event(1)))
    assert (delivery.disposition, delivery.reason) == (Disposition.RETRYABLE, "QueueNotFound")


class Answering:
    """A client whose answers a test writes; each call's ids are kept."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.calls: list[list[str]] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> Any:  # noqa: N803
        self.calls.append([entry["MessageBody"] for entry in Entries])
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"ResponseMetadata": {"RetryAttempts": 0}, **answer}


def failed(code: str, *, sender: bool) -> dict[str, Any]:
    return {"Id": "1", "Code": code, "Message": "no", "SenderFault": sender}


def client_error(code: str) -> ClientError:
    metadata: Any = {"HTTPStatusCode": 400}
    return ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": metadata}, "SendMessageBatch"
    )


@pytest.mark.parametrize(
    ("failure", "disposition", "reason"),
    [
        (failed("InternalError", sender=False), Disposition.RETRYABLE, "Unavailable"),
        (failed("ThrottlingException", sender=True), Disposition.RETRYABLE, "Throttled"),
        (failed("KmsThrottled", sender=True), Disposition.RETRYABLE, "Throttled"),
        (failed("RequestThrottled", sender=True), Disposition.RETRYABLE, "Throttled"),
        (failed("InvalidMessageContents", sender=True), Disposition.REFUSED, "InvalidMessageContents"),
    ],
)
async def test_a_part_that_fails_is_told_from_the_rest(
    failure: dict[str, Any], disposition: Disposition, reason: str
) -> None:
    client: Any = Answering({"Successful": [{"Id": "0", "MessageId": "m"}], "Failed": [failure]})
    sink = SQSSink(client, InlineOffload(), "https://sqs.example.test/1/q")
    first, second = await sink.send(batch(event(0), event(1)))
    assert first.disposition is Disposition.DELIVERED
    assert (second.disposition, second.reason) == (disposition, reason)


async def test_no_answer_leaves_all_of_it_open() -> None:
    client: Any = Answering(ReadTimeoutError(endpoint_url="https://sqs.example.test"))
    sink = SQSSink(client, InlineOffload(), "https://sqs.example.test/1/q")
    deliveries = await sink.send(batch(event(0), event(1)))
    assert [d.disposition for d in deliveries] == [Disposition.RETRYABLE] * 2


async def test_a_call_that_is_refused_as_a_whole_is_tried_one_by_one() -> None:
    taken = {"Successful": [{"Id": "0", "MessageId": "m"}]}
    refused = client_error("AWS.SimpleQueueService.BatchRequestTooLong")
    client: Any = Answering(refused, taken, client_error("InvalidParameterValue"))
    sink = SQSSink(client, InlineOffload(), "https://sqs.example.test/1/q")
    first, second = await sink.send(batch(event(0), event(1)))
    assert first.disposition is Disposition.DELIVERED
    assert (second.disposition, second.reason) == (Disposition.REFUSED, "InvalidParameterValue")
    assert [len(call) for call in client.calls] == [2, 1, 1]


async def test_what_the_credentials_may_not_is_no_answer_of_the_target() -> None:
    client: Any = Answering(client_error("AccessDenied"))
    with pytest.raises(Denied):
        await SQSSink(client, InlineOffload(), "https://sqs.example.test/1/q").send(batch(event(0)))


async def test_tries_that_the_client_made_by_itself_are_counted() -> None:
    answer = {"Successful": [{"Id": "0", "MessageId": "m"}], "ResponseMetadata": {"RetryAttempts": 2}}
    sink = SQSSink(Answering(answer), InlineOffload(), "https://sqs.example.test/1/q")  # type: ignore[arg-type]
    [delivery] = await sink.send(batch(event(0)))
    assert delivery.tries == 3


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_entities_never_share_a_group_and_every_group_is_one_that_sqs_takes(one: str, other: str) -> None:
    allowed = set(map(chr, range(0x21, 0x7F)))
    for entity in (one, other, f"sha256:{one}", one * 50):
        group = message_group(entity)
        assert 1 <= len(group) <= 128
        assert set(group) <= allowed
    if one != other:
        assert message_group(one) != message_group(other)
    assert message_group(message_group(" ")) != message_group(" ")
