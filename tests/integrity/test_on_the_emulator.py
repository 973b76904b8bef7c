"""Seals, verification, repair and explanation against the services' own behaviour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrity.bench import arrivals
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_index import DynamoIndex
from pik.aws.dynamo_table import DynamoTable
from pik.aws.index_items import SCHEMA
from pik.aws.s3_objects import S3ObjectStore
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.domain.arrivals import Outcome, Row
from pik.domain.layout import Layout, segment_id
from pik.domain.segments import SegmentHead
from pik.execution.capture.capture import Capture
from pik.execution.capture.landing import Landing
from pik.execution.capture.settings import CaptureSettings
from pik.execution.explain import Explanation, Part, explain
from pik.execution.orphans import index_orphans
from pik.execution.parquet import ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.seals import seal_segments
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from pik.execution.verify import Kind, verify


@pytest.fixture
def io() -> Iterator[ThreadOffload]:
    pool = ThreadOffload(8, "aws")
    yield pool
    pool.close()


@pytest.fixture
def clients(emulator: str) -> AwsClients:
    return AwsClients(AwsAccess(endpoint_url=emulator, connections=8))


@pytest.fixture
def s3(clients: AwsClients, unique: str) -> Any:
    s3 = clients.client("s3")
    s3.create_bucket(Bucket=unique)
    return s3


@pytest.fixture
def stream(clients: AwsClients, s3: Any, unique: str, io: ThreadOffload, tmp_path: Path) -> Stream:
    dynamodb = clients.client("dynamodb")
    dynamodb.create_table(TableName=unique, BillingMode="PAY_PER_REQUEST", **SCHEMA)
    clock, entropy = SystemClock(), SystemEntropy()
    objects = S3ObjectStore(s3, unique, io, clock)
    return Stream(
        namespace="default",
        name="sensors",
        layout=Layout("kit/", "stream-1"),
        deduplication=Deduplication.ON_WRITE,
        retention_days=None,
        fingerprint_exclude=(),
        objects=objects,
        index=DynamoIndex(DynamoTable(dynamodb, unique, io, clock, entropy)),
        files=SegmentCache(objects, tmp_path, io),
        codec=ParquetCodec(),
        clock=clock,
        entropy=entropy,
        offload=io,
    )


async def present() -> None:
    """The table is there."""


async def test_a_stream_is_sealed_harmed_found_out_and_explained(
    stream: Stream, s3: Any, unique: str
) -> None:
    await reindex(stream, present)
    capture = Capture(stream, CaptureSettings(max_rows=100))
    events = arrivals(300)
    await capture.ingest(events)
    await capture.ingest(events[:40])
    await capture.close()
    (seal,) = await seal_segments(stream, settle=0)
    assert await seal_segments(stream, settle=0) == []

    whole = await verify(stream)
    assert whole.findings == ()
    assert whole.ok
    assert (whole.checked.rows, whole.checked.index_entries) == (340, 300)
    assert whole.checked.sealed == whole.checked.segments == len(seal.segments)

    found = await explain(stream, events[7].event_id)
    assert isinstance(found, Explanation)
    assert [told.part for told in found.arrivals] == [Part.EVENT, Part.DUPLICATE]
    assert found.arrivals[0].payload == events[7].data.decode()

    harmed = found.arrivals[0].key
    body = s3.get_object(Bucket=unique, Key=harmed)["Body"].read()
    damaged = bytearray(body)
    damaged[len(body) // 2] ^= 0x01
    s3.put_object(Bucket=unique, Key=harmed, Body=bytes(damaged))
    result = await verify(stream)
    assert {finding.object for finding in result.errors} == {harmed}
    assert result.errors[0].kind is Kind.OBJECT_ALTERED
    assert any(finding.rows is not None for finding in result.errors)

    s3.delete_object(Bucket=unique, Key=harmed)
    await reindex(stream, present)
    kinds = {(finding.kind, finding.object) for finding in (await verify(stream)).errors}
    assert (Kind.OBJECT_MISSING, harmed) in kinds


async def test_what_landed_without_its_manifest_row_is_indexed(stream: Stream) -> None:
    await reindex(stream, present)
    now = stream.clock.now()
    head = SegmentHead(stream.layout.stream_id, segment_id(now, stream.entropy.hex(20), 1), now)
    rows = [Row(n, event, Outcome.RECORDED) for n, event in enumerate(arrivals(20))]
    landed = await Landing(stream, CaptureSettings()).land(head, rows)
    assert [finding.kind for finding in (await verify(stream)).findings] == [Kind.ORPHAN]
    assert (await index_orphans(stream)).indexed == (landed,)
    assert (await verify(stream)).findings == ()
