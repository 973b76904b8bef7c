"""Snapshots over S3 and DynamoDB as the emulator has them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_index import DynamoIndex
from pik.aws.dynamo_table import DynamoTable
from pik.aws.index_items import SCHEMA
from pik.aws.s3_objects import S3ObjectStore
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.domain.layout import Layout, segment_id
from pik.domain.segments import SegmentHead
from pik.execution.capture.capture import Capture
from pik.execution.inspect.gaps import GapOptions, gaps
from pik.execution.parquet import ParquetCodec
from pik.execution.reading.snapshot import pinned_snapshot, take_snapshot
from pik.execution.reindex import reindex
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from reading.streams import after, arrival, rows


@pytest.fixture
def offload() -> Iterator[ThreadOffload]:
    pool = ThreadOffload(8, "tests")
    yield pool
    pool.close()


@pytest.mark.emulator
async def test_it_is_whole_and_pinned(
    tmp_path: Path, emulator: str, unique: str, offload: ThreadOffload
) -> None:
    clients = AwsClients(AwsAccess(endpoint_url=emulator, connections=8))
    s3, dynamodb, clock = clients.client("s3"), clients.client("dynamodb"), SystemClock()
    s3.create_bucket(Bucket=unique)
    objects = S3ObjectStore(s3, unique, offload, clock)
    stream = Stream(
        namespace="tests",
        name="things",
        layout=Layout("prefix/", "stream1"),
        deduplication=Deduplication.ON_WRITE,
        retention_days=None,
        fingerprint_exclude=(),
        objects=objects,
        index=DynamoIndex(DynamoTable(dynamodb, unique, offload, clock, SystemEntropy())),
        files=SegmentCache(objects, tmp_path, offload),
        codec=ParquetCodec(),
        clock=clock,
        entropy=SystemEntropy(),
        offload=offload,
    )

    async def ensure_table() -> None:
        dynamodb.create_table(TableName=unique, BillingMode="PAY_PER_REQUEST", **SCHEMA)

    await reindex(stream, ensure_table)
    capture = Capture(stream)
    keys = {
        answer.s3_key
        for number in range(5)
        for answer in await capture.ingest([arrival(f"k{number}", after(3600 * number))])
    }
    await capture.close()
    # a segment whose writer died before it was indexed
    head = SegmentHead("stream1", segment_id(clock.now(), stream.entropy.hex(20), 1), clock.now())
    orphan = stream.layout.segment(head.segment)
    await objects.create(orphan, stream.codec.encode(head, rows([arrival("k9", after(3600 * 9))])))

    snapshot = await pinned_snapshot(stream, clock.now())
    assert {entry.key for entry in snapshot.segments} == keys | {orphan}
    report = await gaps(stream, snapshot, None, GapOptions(timedelta(hours=1)))
    assert (report.arrivals, report.missing) == (6, 4)

    dynamodb.delete_table(TableName=unique)
    await reindex(stream, ensure_table)
    assert (await take_snapshot(stream, snapshot.as_of, now=clock.now())).hash == snapshot.hash
    again = await pinned_snapshot(stream, snapshot.as_of)
    assert (again, again.hash) == (snapshot, snapshot.hash)
