"""Runs to queues, endpoints and buckets, through a proxy that throttles, breaks and fails in part: everything
arrives, in order where there is one, and what is refused for good goes to the dead letter queue."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pyarrow.parquet as pq
import pytest

from faults.policy import USUAL, Fault, Kind, nothing, sometimes
from faults.proxy import FaultProxy, faulty
from jobs.receivers import Receiver
from pik.api.targets import S3Format
from pik.aws.clients import AwsClients
from pik.aws.s3_objects import S3ObjectStore
from pik.aws.sqs_sink import SQSSink
from pik.aws.system import SystemClock, ThreadOffload
from pik.execution.replay.ledger import reconcile_run
from pik.execution.replay.settings import ShardSettings
from pik.planning.replay.records import EndState, Totals
from pik.ports.sinks import Sink
from pik.sinks.http import HTTPSink
from pik.sinks.s3 import S3Sink
from reading.streams import world
from replay.slices import event, ran

EVENTS = [event(n, f"e{n % 4}", data=b'{"n":%d}' % n) for n in range(60)]
IDS = [each.event_id for each in EVENTS]


class Letters:
    """A dead letter queue, past the proxy."""

    def __init__(self, clients: AwsClients, io: ThreadOffload, name: str) -> None:
        self._sqs: Any = clients.client("sqs")
        self.url: str = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        self.sink = SQSSink(self._sqs, io, self.url)

    def read(self) -> list[str]:
        return [each["id"] for each in drained(self._sqs, self.url)]


@pytest.fixture
def letters(clients: AwsClients, io: ThreadOffload, unique: str) -> Letters:
    return Letters(clients, io, f"{unique}-dead")


def drained(sqs: Any, url: str) -> list[dict[str, Any]]:
    found = []
    while got := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for each in got:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
            found.append(orjson.loads(each["Body"]))
    return found


async def run(tmp_path: Path, sink: Sink, letters: Letters, target: dict[str, Any], **changes: Any) -> Totals:
    """All of EVENTS, to the end."""
    made = await world(tmp_path)
    plan, end = await ran(
        made,
        EVENTS,
        sink,  # type: ignore[arg-type]
        changes={"dead_letter": letters.sink, **changes},
        target=target,
        onError={"action": "DeadLetter", "deadLetter": {"queueURL": letters.url}},
    )
    assert end is not None
    assert end.state is EndState.SUCCEEDED
    assert (await reconcile_run(made.stream, plan)).whole
    await sink.close()
    return end.totals


def in_order(ids: list[tuple[str, str]]) -> bool:
    """Of (entity, event id): each entity's events, at their first arrival."""
    first = list(dict.fromkeys(ids))
    return all(
        [event_id for entity, event_id in first if entity == one]
        == sorted(event_id for entity, event_id in first if entity == one)
        for one, _ in first
    )


@pytest.mark.parametrize("fifo", [False, True])
async def test_a_queue(
    proxy: FaultProxy,
    clients: AwsClients,
    through: AwsClients,
    io: ThreadOffload,
    letters: Letters,
    unique: str,
    tmp_path: Path,
    fifo: bool,
) -> None:
    sqs = clients.client("sqs")
    name = f"{unique}.fifo" if fifo else unique
    attributes: Any = {"FifoQueue": "true"} if fifo else {}
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    for_good = Fault(Kind.PART, entries=[1], code="InvalidMessageContents")
    often = sometimes(21, 0.5, USUAL)
    proxy.policy = lambda call: for_good if call.number == 0 else often(call)
    sink = SQSSink(through.client("sqs"), io, url)
    large = ShardSettings(chunk_events=20, first_chunk=20)  # five events of an entity in each
    target = {"type": "SQS", "sqs": {"queueURL": url}}
    totals = await run(tmp_path, sink, letters, target, settings=large)
    assert (totals.sent, totals.failed) == (59, 1)
    assert proxy.failed > 5
    assert proxy.counts["sqs.SendMessageBatch", "Part"] > 1
    [lost] = letters.read()
    arrived = drained(sqs, url)
    assert {each["id"] for each in arrived} == {*IDS} - {lost}
    if fifo:
        assert len(arrived) == 59  # the queue drops repeats
        assert in_order([(each["subject"], each["id"]) for each in arrived])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.start()
    yield made
    made.stop()


async def test_an_endpoint(receiver: Receiver, letters: Letters, tmp_path: Path) -> None:
    receiver.answer = lambda got: 422 if got.id == IDS[7] else 202
    parts = urlsplit(receiver.url)
    with faulty(f"http://{parts.netloc}", sometimes(4, 0.4, USUAL)) as proxy:
        sink = HTTPSink(f"{proxy.endpoint}{parts.path}", SystemClock(), loopback=True)
        target = {"type": "HTTP", "http": {"url": receiver.url}}
        totals = await run(tmp_path, sink, letters, target)
    assert (totals.sent, totals.failed) == (59, 1)
    assert proxy.failed > 15
    assert letters.read() == [IDS[7]]
    assert {got.id for got in receiver.received} == {*IDS}
    keys = {(got.id, got.key) for got in receiver.received}
    assert len(keys) == 60  # a repeat has the key of the first
    assert in_order([(got.subject, got.id) for got in receiver.received if got.id != IDS[7]])


async def test_a_bucket(
    proxy: FaultProxy,
    clients: AwsClients,
    through: AwsClients,
    io: ThreadOffload,
    letters: Letters,
    unique: str,
    tmp_path: Path,
) -> None:
    s3 = clients.client("s3")
    s3.create_bucket(Bucket=unique)
    store = S3ObjectStore(through.client("s3"), unique, io, SystemClock())
    refused = Fault(Kind.CODE, code="InvalidRequest")
    often = sometimes(2, 0.5, USUAL)
    proxy.policy = lambda call: refused if call.number == 0 else often(call)
    sink = S3Sink(store, "again", S3Format.PARQUET, io)
    target = {"type": "S3", "s3": {"bucket": unique, "prefix": "again"}}
    totals = await run(
        tmp_path, sink, letters, target, settings=ShardSettings(bulk_events=10, first_chunk=10)
    )
    assert (totals.sent, totals.failed) == (50, 10)
    assert proxy.failed > 2
    assert sorted(letters.read()) == IDS[:10]
    proxy.policy = nothing
    listed = s3.list_objects_v2(Bucket=unique)["Contents"]
    rows = [
        row
        for each in listed
        for row in pq.read_table(
            BytesIO(s3.get_object(Bucket=unique, Key=each["Key"])["Body"].read())
        ).to_pylist()
    ]
    assert len(listed) == 5  # an object whose answer was lost is found there
    assert sorted(row["event_id"] for row in rows) == IDS[10:]
