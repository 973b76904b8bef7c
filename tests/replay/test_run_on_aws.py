"""A run over S3, DynamoDB and SQS as the emulator has them: killed, gone on with, and done once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from pik.api.replay_job import TimeField
from pik.api.targets import S3Format
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_index import DynamoIndex
from pik.aws.dynamo_table import DynamoTable
from pik.aws.index_items import SCHEMA
from pik.aws.s3_objects import S3ObjectStore
from pik.aws.sqs_sink import SQSSink
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.domain.layout import Layout
from pik.execution.capture.capture import Capture
from pik.execution.capture.settings import CaptureSettings
from pik.execution.parquet import ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.replay.comparing import compare_target
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.ledger import read_ledger, reconcile_run
from pik.execution.replay.occupancy import occupy
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import run_keys
from pik.execution.replay.settings import ShardSettings
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from pik.planning.replay.occupancy import Occupant
from pik.planning.replay.records import EndState, Repeats
from pik.ports.sinks import Batch, Delivery, Sink, SinkTraits
from pik.sinks.s3 import S3Sink
from pik.sinks.s3_reading import S3ReadBack
from reading.streams import after, arrival
from replay.slices import begin, spec, tools

pytestmark = pytest.mark.emulator

SETTINGS = ShardSettings(chunk_events=25, first_chunk=25, lease_seconds=1.0)


class Killed(BaseException):
    """The worker is gone."""


class Mortal:
    """A sink whose worker dies after so many calls, when the last one was taken."""

    def __init__(self, inner: Sink, calls: int) -> None:
        self._inner = inner
        self._left = calls

    @property
    def traits(self) -> SinkTraits:
        return self._inner.traits

    async def send(self, batch: Batch) -> list[Delivery]:
        deliveries = await self._inner.send(batch)
        self._left -= 1
        if self._left < 0:
            raise Killed
        return deliveries

    async def close(self) -> None: ...


@pytest.fixture
def pool() -> Iterator[ThreadOffload]:
    pool = ThreadOffload(16)
    yield pool
    pool.close()


@pytest.fixture
def clients(emulator: str) -> AwsClients:
    return AwsClients(AwsAccess(endpoint_url=emulator, connections=16))


@pytest.fixture
async def stream(clients: AwsClients, pool: ThreadOffload, unique: str, tmp_path: Path) -> Stream:
    """A stream of 120 events of 11 entities."""
    s3, dynamodb = clients.client("s3"), clients.client("dynamodb")
    s3.create_bucket(Bucket=unique)
    clock, entropy = SystemClock(), SystemEntropy()
    objects = S3ObjectStore(s3, unique, pool, clock)
    stream = Stream(
        namespace="tests",
        name="things",
        layout=Layout("p/", "0" * 32),
        deduplication=Deduplication.ON_WRITE,
        retention_days=None,
        fingerprint_exclude=(),
        objects=objects,
        index=DynamoIndex(DynamoTable(dynamodb, unique, pool, clock, entropy), None),
        files=SegmentCache(objects, tmp_path, pool),
        codec=ParquetCodec(),
        clock=clock,
        entropy=entropy,
        offload=pool,
    )

    async def ensure_table() -> None:
        dynamodb.create_table(TableName=unique, BillingMode="PAY_PER_REQUEST", **SCHEMA)

    await reindex(stream, ensure_table)
    capture = Capture(stream, CaptureSettings())
    await capture.ingest([arrival(f"k{n}", after(n), entity_id=f"e{n % 11}") for n in range(120)])
    await capture.drain()
    return stream


def received(sqs: Any, url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while messages := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"], WaitTimeSeconds=1
    ).get("Messages"):
        for each in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        found += messages
    return found


async def test_a_killed_run_is_whole_in_a_fifo_queue(
    stream: Stream, clients: AwsClients, pool: ThreadOffload, unique: str
) -> None:
    sqs = clients.client("sqs")
    url = sqs.create_queue(QueueName=f"{unique}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    selector = DuckDBSelector(stream, str)
    plan = await begin(stream, selector, spec(target={"type": "SQS", "sqs": {"queueURL": url}}, shards=2))
    sink = SQSSink(sqs, pool, url)
    doomed = tools(stream, selector, Mortal(sink, 5), holder="first", settings=SETTINGS)
    with pytest.raises((Killed, BaseExceptionGroup)):
        await run_replay(stream, plan.run_id, doomed, 2)
    for again in range(2):  # the second finds the end
        end = await run_replay(
            stream, plan.run_id, tools(stream, selector, sink, holder=f"next{again}", settings=SETTINGS), 2
        )
        assert end is not None
        assert (end.state, end.totals.sent) == (EndState.SUCCEEDED, 120)
    reconciliation = await reconcile_run(stream, plan)
    assert reconciliation.whole
    doubted = [head async for head, _ in read_ledger(stream, plan.run_id) if head.in_doubt]
    assert doubted
    assert {head.repeats for head in doubted} == {Repeats.DROPPED}
    bodies = [orjson.loads(message["Body"]) for message in received(sqs, url)]
    assert len(bodies) == len({body["id"] for body in bodies}) == 120
    by_entity: dict[str, list[str]] = defaultdict(list)
    for body in bodies:
        by_entity[body["subject"]].append(body["time"])
    assert all(times == sorted(times) for times in by_entity.values())


async def test_one_entity_of_the_index_is_replayed(stream: Stream, tmp_path: Path) -> None:
    selector = DuckDBSelector(stream, str, tail=0.0)
    plan = await begin(stream, selector, spec(select={"entities": ["e3", "e5"]}))
    assert plan.measure.matched == 22


async def test_a_killed_run_is_whole_in_s3_and_what_is_lost_there_is_seen(
    stream: Stream, clients: AwsClients, pool: ThreadOffload, unique: str
) -> None:
    s3 = clients.client("s3")
    there = S3ObjectStore(s3, unique, pool, stream.clock)
    selector = DuckDBSelector(stream, str)
    target = {"type": "S3", "s3": {"bucket": unique, "prefix": "out", "format": "NDJSON"}}
    hiding = [{"path": "n", "action": "Hash"}]
    plan = await begin(stream, selector, spec(target=target, shards=2, transform=hiding))
    sink = S3Sink(there, "out", S3Format.NDJSON, pool)
    doomed = tools(stream, selector, Mortal(sink, 2), holder="first", settings=SETTINGS)
    with pytest.raises((Killed, BaseExceptionGroup)):
        await run_replay(stream, plan.run_id, doomed, 2)
    end = await run_replay(stream, plan.run_id, tools(stream, selector, sink, settings=SETTINGS), 2)
    assert end is not None
    back = S3ReadBack(there, "out", S3Format.NDJSON, pool)
    found = await compare_target(stream, plan.run_id, selector, back)
    assert (found.expected, found.found, found.matches) == (120, 120, True)
    s3.delete_object(Bucket=unique, Key=run_keys(stream, plan.run_id).comparison)
    lost = s3.list_objects_v2(Bucket=unique, Prefix="out/")["Contents"][0]["Key"]
    lines = s3.get_object(Bucket=unique, Key=lost)["Body"].read().count(b"\n")
    s3.delete_object(Bucket=unique, Key=lost)
    found = await compare_target(stream, plan.run_id, selector, back)
    assert (found.missing, found.extra, found.matches) == (lines, 0, False)


async def test_of_runs_that_ask_for_one_target_at_once_one_gets_it(stream: Stream) -> None:
    runs = [
        Occupant(f"{n:064x}", "tests", f"j{n}", "1", TimeField.EVENT_TIME, "a", "b", "now") for n in range(8)
    ]
    found = await asyncio.gather(*(occupy(stream, "SQS there", run, lambda *_: True) for run in runs))
    assert found.count(None) == 1
    assert {one.run_id for one in found if one is not None} == {runs[found.index(None)].run_id}
