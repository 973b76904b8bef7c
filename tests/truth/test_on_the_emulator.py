"""The same over the services' own behaviour: an index that is rebuilt from nothing is the old one, item by
item, and answers as it did."""

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
from pik.execution.orphans import index_orphans
from pik.execution.parquet import ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.seals import seal_segments
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from pik.execution.verify import verify
from truth.answers import everything
from truth.kit import Sent


class Account:
    """Streams of the emulator that differ in bucket and table only, and these as they lie there."""

    def __init__(self, endpoint: str, directory: Path, io: ThreadOffload) -> None:
        clients = AwsClients(AwsAccess(endpoint_url=endpoint, connections=8))
        self.s3: Any = clients.client("s3")
        self.dynamodb: Any = clients.client("dynamodb")
        self._directory, self._io = directory, io

    def stream(self, name: str, deduplication: Deduplication) -> Stream:
        self.s3.create_bucket(Bucket=name)
        self.table(name)
        clock, entropy = SystemClock(), SystemEntropy()
        objects = S3ObjectStore(self.s3, name, self._io, clock)
        return Stream(
            namespace="tests",
            name="things",
            layout=Layout("some/", "0" * 32),
            deduplication=deduplication,
            retention_days=None,
            fingerprint_exclude=(),
            objects=objects,
            index=DynamoIndex(DynamoTable(self.dynamodb, name, self._io, clock, entropy)),
            files=SegmentCache(objects, self._directory / name, self._io),
            codec=ParquetCodec(),
            clock=clock,
            entropy=entropy,
            offload=self._io,
        )

    def table(self, name: str) -> None:
        self.dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **SCHEMA)

    def copy_bucket(self, name: str, to: str) -> None:
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=name):
            for found in page["Contents"]:
                body = self.s3.get_object(Bucket=name, Key=found["Key"])["Body"].read()
                self.s3.put_object(Bucket=to, Key=found["Key"], Body=body)

    def items(self, name: str) -> list[Any]:
        """Of events, segments and seals, but for the generation of the index that an event's has."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=name)
        items = [item for page in pages for item in page["Items"]]
        for item in items:
            if "v" in item:
                item["v"]["S"] = item["v"]["S"].partition("#")[2]
        kept = [item for item in items if item["pk"]["S"] not in ("#generation", "#leases")]
        return sorted(kept, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


@pytest.fixture
def io() -> Iterator[ThreadOffload]:
    pool = ThreadOffload(8, "aws")
    yield pool
    pool.close()


@pytest.fixture
def account(emulator: str, tmp_path: Path, io: ThreadOffload) -> Account:
    return Account(emulator, tmp_path, io)


async def present() -> None:
    """The table is there."""


async def rich(stream: Stream) -> None:
    """Late events, repeats, contradictions, replays that came back, orphans, a void, three generations."""
    await reindex(stream, present)
    for generation in range(3):
        capture = Capture(stream, CaptureSettings(max_rows=9, linger=0))
        for number in range(2):
            first = 4 * generation + 2 * number
            await capture.ingest(
                [Sent(key, at=-4_000 * (key % 2)).arrival for key in range(first, first + 6)]
            )
            await capture.ingest([Sent(key, variant=1).arrival for key in range(first, first + 3)])
            await capture.ingest([Sent(first, replay_of="1" * 64).arrival, Sent(first + 40).arrival])
        await capture.ingest([Sent(100 + generation, replay_of="2" * 64).arrival])
        await capture.close()
        await seal_segments(stream, settle=0)
        if generation < 2:
            await reindex(stream, present)
    now = stream.clock.now()
    landing = Landing(stream, CaptureSettings())
    orphan = SegmentHead(stream.layout.stream_id, segment_id(now, stream.entropy.hex(20), 3), now)
    outcome = Outcome.ACCEPTED if stream.deduplication is Deduplication.ON_WRITE else Outcome.RECORDED
    await landing.land(orphan, [Row(n, event, outcome) for n, event in enumerate(arrivals(5, 77))])
    await landing.void(segment_id(now, stream.entropy.hex(20), 3))


@pytest.mark.parametrize("deduplication", list(Deduplication))
async def test_an_index_from_nothing_is_the_old_one(
    account: Account, unique: str, deduplication: Deduplication
) -> None:
    before, name = account.stream(unique, deduplication), f"{unique}-2"
    await rich(before)
    after = account.stream(name, deduplication)
    account.copy_bucket(unique, name)
    await reindex(after, present)
    now = before.clock.now()
    found = await everything(after, now)
    assert found == await everything(before, now)
    assert found["duplicates"].duplicates > 0
    assert found["conflicts"].conflicts_found > 0
    # what the timer for orphans does sooner or later; the events of the orphan are known by the rebuilt index
    await index_orphans(before)
    rebuilt = account.items(name)
    if deduplication is Deduplication.ON_WRITE:
        planted = {event.event_id for event in arrivals(5, 77)}
        rebuilt = [item for item in rebuilt if item["pk"]["S"] not in planted]
    assert rebuilt == account.items(unique)
    assert (await verify(after)).findings == ()
