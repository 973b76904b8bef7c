"""What the work may expect of segments as files: SegmentCache, and what stands for it in simulations."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.values import LAYOUT
from pik.domain.errors import Incomplete, Tampered
from pik.domain.segments import SegmentEntry, SegmentHead, SegmentID
from pik.execution.reading.describe import describe_segment
from pik.execution.segment_cache import SegmentCache
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.memory.system import InlineOffload, ManualClock
from pik.ports.segments import SegmentFiles
from reading.streams import START, arrival, rows
from simulation.plain import PlainFiles
from simulation.world import PlainCodec

CODEC = PlainCodec()


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture(params=["cache", "plain"])
def files(request: pytest.FixtureRequest, bucket: MemoryBucket, tmp_path: Path) -> SegmentFiles:
    store = MemoryObjectStore(bucket, ManualClock(START))
    if request.param == "plain":
        return PlainFiles(store, CODEC)
    return SegmentCache(store, tmp_path, InlineOffload())


async def landed(bucket: MemoryBucket, number: int) -> SegmentEntry:
    segment = SegmentID(f"{START.micros // 1000:012x}{number:020x}", 1)
    body = CODEC.encode(SegmentHead(LAYOUT.stream_id, segment, START), rows([arrival(f"k{number}")]))
    key = LAYOUT.segment(segment)
    await MemoryObjectStore(bucket, ManualClock(START)).create(key, body)
    return describe_segment(key, body, CODEC, START)


async def test_a_file_for_each_entry_in_order(files: SegmentFiles, bucket: MemoryBucket) -> None:
    entries = [await landed(bucket, number) for number in range(20)]
    wanted = [entries[7], entries[3], entries[7], *entries]
    paths = await files.fetch(wanted)
    assert [path.name.removesuffix(".parquet") for path in paths] == [str(each.segment) for each in wanted]
    assert await files.fetch([]) == []
    bucket.objects.clear()
    assert await files.fetch(wanted) == paths, "a segment never changes: what was fetched stays good"


async def test_an_object_that_is_gone_is_named(files: SegmentFiles, bucket: MemoryBucket) -> None:
    there, gone = [await landed(bucket, number) for number in range(2)]
    del bucket.objects[gone.key]
    with pytest.raises(Incomplete, match=gone.key):
        await files.fetch([there, gone])


async def test_other_bytes_are_named(files: SegmentFiles, bucket: MemoryBucket) -> None:
    there, changed = [await landed(bucket, number) for number in range(2)]
    bucket.objects[changed.key] = bucket.objects[there.key]
    with pytest.raises(Tampered, match=changed.key):
        await files.fetch([there, changed])
