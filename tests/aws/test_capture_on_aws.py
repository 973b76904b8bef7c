"""The write protocol over S3 and DynamoDB as the emulator has them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_index import DynamoIndex
from pik.aws.dynamo_table import DynamoTable
from pik.aws.index_items import SCHEMA
from pik.aws.s3_objects import S3ObjectStore
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.domain.errors import NotReady
from pik.domain.layout import Layout
from pik.execution.capture.answers import Answer, Status
from pik.execution.capture.capture import Capture
from pik.execution.capture.settings import CaptureSettings
from pik.execution.parquet import ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from simulation.capture_scenario import arrival

pytestmark = pytest.mark.emulator

DAY = 86_400


class Here:
    """A stream on the emulator, and several writers of it."""

    def __init__(self, endpoint: str, name: str, directory: Path) -> None:
        clients = AwsClients(AwsAccess(endpoint_url=endpoint, connections=16))
        self.name = name
        self.s3, self.dynamodb = clients.client("s3"), clients.client("dynamodb")
        self.quick_s3 = clients.quick_s3(self.s3)
        self.quick_dynamodb = clients.quick_dynamodb(self.dynamodb)
        self.pool = ThreadOffload(16)
        self.directory = directory
        self.s3.create_bucket(Bucket=name)

    def stream(self) -> Stream:
        clock, entropy = SystemClock(), SystemEntropy()
        objects = S3ObjectStore(self.quick_s3, self.name, self.pool, clock)
        table = DynamoTable(self.quick_dynamodb, self.name, self.pool, clock, entropy)
        return Stream(
            namespace="tests",
            name="things",
            layout=Layout("p/", "0" * 32),
            deduplication=Deduplication.ON_WRITE,
            retention_days=30,
            fingerprint_exclude=(),
            objects=objects,
            index=DynamoIndex(table, 30),
            files=SegmentCache(objects, self.directory, self.pool),
            codec=ParquetCodec(),
            clock=clock,
            entropy=entropy,
            offload=self.pool,
        )

    def writer(self) -> Capture:
        return Capture(self.stream(), CaptureSettings(void_wait=0.05, max_rows=40))

    async def ensure_table(self) -> None:
        there = self.dynamodb.list_tables()["TableNames"]
        if self.name not in there:
            self.dynamodb.create_table(TableName=self.name, BillingMode="PAY_PER_REQUEST", **SCHEMA)

    def entries(self) -> dict[str, tuple[str, ...]]:
        """Every event's entry, but for its generation, read by a plain Scan."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.name)
        items = [item for page in pages for item in page["Items"] if item["sk"]["S"] == "e"]
        return {
            item["pk"]["S"]: (item["e"]["S"], item["t"]["S"], *item["v"]["S"].split("#")[1:], item["x"]["N"])
            for item in items
        }


@pytest.fixture
def here(emulator: str, unique: str, tmp_path: Path) -> Iterator[Here]:
    place = Here(emulator, unique, tmp_path)
    yield place
    place.pool.close()


async def test_writers_at_once_and_a_lost_table(here: Here) -> None:
    """120 events, each sent by four writers, by one of them with another payload; then the table is lost."""
    first = await reindex(here.stream(), here.ensure_table)
    assert (first.generation, first.events) == (1, 0)
    writers = [here.writer() for _ in range(4)]

    async def send(number: int, writer: Capture) -> list[Answer]:
        answers = []
        for start in range(0, 120, 60):
            keys = range(start, start + 60)
            answers += await writer.ingest([arrival(key, int(key % 4 == number)) for key in keys])
        return answers

    told = await asyncio.gather(*(send(number, writer) for number, writer in enumerate(writers)))
    for key in range(120):
        answers = Counter(answers[key].status for answers in told)
        odd_one = told[key % 4][key].status
        assert answers[Status.ACCEPTED] == 1
        # where the odd payload came first it is the event, and the three others are the conflicts
        assert answers[Status.CONFLICT] == (3 if odd_one is Status.ACCEPTED else 1)

    stream = here.stream()
    before = here.entries()
    rows = [entry async for entry in stream.index.segments()]
    assert len(before) == sum(entry.events for entry in rows) == 120
    assert sum(entry.rows for entry in rows) == 480
    expires = {int(value[-1]) for value in before.values()}
    stamp = rows[0].ingest_time.micros // 1_000_000
    assert all(stamp + 31 * DAY - 60 < at < stamp + 31 * DAY + 600 for at in expires)

    here.dynamodb.delete_table(TableName=here.name)
    with pytest.raises(NotReady):
        await here.writer().ingest([arrival(1, 0)])
    again = await reindex(here.stream(), here.ensure_table)
    assert (again.generation, again.events, again.arrivals) == (2, 120, 480)
    assert here.entries() == before
    # beside them the voids, which nobody had indexed
    assert [entry async for entry in stream.index.segments() if entry.rows] == rows
    [answer] = await here.writer().ingest([arrival(1, 0)])
    assert answer.status in (Status.DUPLICATE, Status.CONFLICT)
    found = [entry async for entry in stream.index.by_entity("e1", None, None)]
    assert len(found) == 60
    assert found == sorted(found, key=lambda entry: (entry.event_time, entry.event_id))
