"""A stream on the emulator, a target on this machine, and worker processes between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.receivers import Receiver
from jobs.workers import Pods
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_index import DynamoIndex
from pik.aws.dynamo_table import DynamoTable
from pik.aws.index_items import SCHEMA
from pik.aws.s3_objects import S3ObjectStore
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.domain.layout import Layout
from pik.execution.capture.capture import Capture
from pik.execution.capture.settings import CaptureSettings
from pik.execution.parquet import ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from reading.streams import after, arrival

EVENTS = 120
ENTITIES = 11


@pytest.fixture
def pool() -> Iterator[ThreadOffload]:
    pool = ThreadOffload(16)
    yield pool
    pool.close()


@pytest.fixture
async def stream(emulator: str, pool: ThreadOffload, unique: str, tmp_path: Path) -> Stream:
    """A stream of 120 events of 11 entities, in a bucket and a table of the name `unique`."""
    clients = AwsClients(AwsAccess(endpoint_url=emulator, connections=16))
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
        files=SegmentCache(objects, tmp_path / "segments", pool),
        codec=ParquetCodec(),
        clock=clock,
        entropy=entropy,
        offload=pool,
    )

    async def ensure_table() -> None:
        dynamodb.create_table(TableName=unique, BillingMode="PAY_PER_REQUEST", **SCHEMA)

    await reindex(stream, ensure_table)
    capture = Capture(stream, CaptureSettings())
    arrivals = [
        arrival(f"k{n}", after(n), f'{{"n":{n}}}'.encode(), entity_id=f"e{n % ENTITIES}")
        for n in range(EVENTS)
    ]
    await capture.ingest(arrivals)
    await capture.drain()
    return stream


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def pods(emulator: str, tmp_path: Path) -> Iterator[Pods]:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    made = Pods(emulator, tmp_path, secrets)
    yield made
    made.stop()
