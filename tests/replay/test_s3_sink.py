"""A slice as objects: whole, readable, and written once."""

from __future__ import annotations

import io

import orjson
import pyarrow.parquet as pq
import pytest

from pik.api.targets import S3Format
from pik.domain.errors import Denied, Unavailable
from pik.domain.instants import Instant
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.memory.system import InlineOffload, ManualClock
from pik.ports.sinks import Batch, Disposition
from pik.sinks.s3 import S3Sink
from reading.streams import START
from replay.slices import event, messages

EVENTS = [event(n, data=b'{"n":\r\n%d}' % n) for n in range(5)]
BATCH = Batch("r" * 64, 3, 7, messages(*EVENTS))


def sink(bucket: MemoryBucket, form: S3Format, **hooks: object) -> S3Sink:
    store = MemoryObjectStore(bucket, ManualClock(START), **hooks)  # type: ignore[arg-type]
    return S3Sink(store, "replays/july", form, InlineOffload())


async def test_parquet_holds_the_captured_bytes() -> None:
    bucket = MemoryBucket()
    deliveries = await sink(bucket, S3Format.PARQUET).send(BATCH)
    [(key, stored)] = bucket.objects.items()
    assert key.startswith(f"replays/july/run={'r' * 64}/shard=0003/chunk=00000007-")
    assert {d.disposition for d in deliveries} == {Disposition.DELIVERED}
    rows = pq.read_table(io.BytesIO(stored.body)).to_pylist()
    assert [row["data"].encode() for row in rows] == [each.data for each in EVENTS]
    assert [row["replay_key"] for row in rows] == [message.key for message in BATCH.messages]
    times = [Instant(each.event_micros).to_datetime() for each in EVENTS]
    assert [row["event_time"] for row in rows] == times


async def test_ndjson_is_an_event_a_line() -> None:
    bucket = MemoryBucket()
    await sink(bucket, S3Format.NDJSON).send(BATCH)
    [stored] = bucket.objects.values()
    lines = stored.body.split(b"\n")
    assert [orjson.loads(line)["data"]["n"] for line in lines[:-1]] == [0, 1, 2, 3, 4]
    assert lines[-1] == b""


@pytest.mark.parametrize("form", S3Format)
async def test_a_repeat_finds_its_object_and_overwrites_nothing(form: S3Format) -> None:
    bucket = MemoryBucket()
    await sink(bucket, form).send(BATCH)
    before = dict(bucket.objects)
    deliveries = await sink(bucket, form).send(BATCH)
    assert bucket.objects == before
    assert len(deliveries) == 5
    assert deliveries[0].disposition is Disposition.DELIVERED
    assert "was there" in deliveries[0].answer


async def test_other_events_under_the_same_chunk_are_another_object() -> None:
    bucket = MemoryBucket()
    await sink(bucket, S3Format.NDJSON).send(BATCH)
    await sink(bucket, S3Format.NDJSON).send(Batch("r" * 64, 3, 7, messages(*EVENTS[:4])))
    assert len(bucket.objects) == 2


async def test_faults_are_told_apart() -> None:
    async def lose(call: str) -> None:
        raise Unavailable("no answer")

    async def deny(call: str) -> None:
        raise Denied("AccessDenied")

    [first, *_] = await sink(MemoryBucket(), S3Format.NDJSON, after=lose).send(BATCH)
    assert first.disposition is Disposition.RETRYABLE
    [first, *_] = await sink(MemoryBucket(exists=False), S3Format.NDJSON).send(BATCH)
    assert (first.disposition, first.reason) == (Disposition.RETRYABLE, "NoSuchBucket")
    with pytest.raises(Denied):
        await sink(MemoryBucket(), S3Format.NDJSON, before=deny).send(BATCH)
