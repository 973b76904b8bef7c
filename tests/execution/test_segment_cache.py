"""Segments as local files."""

from __future__ import annotations

import asyncio
from functools import partial
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from contract.values import entry, segment
from pik.domain.errors import Incomplete, Tampered, Unavailable
from pik.domain.instants import parse_instant
from pik.domain.segments import SegmentEntry
from pik.execution.concurrency import all_of
from pik.execution.segment_cache import SegmentCache
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.memory.system import InlineOffload, ManualClock

CLOCK = ManualClock(parse_instant("2013-07-10T04:00:00Z"))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def stored(bucket: MemoryBucket, number: int) -> SegmentEntry:
    body = f"segment {number}".encode()
    known = msgspec.structs.replace(entry(segment(number)), sha256=sha256(body).hexdigest())
    await MemoryObjectStore(bucket, CLOCK).create(known.key, body)
    return known


async def test_fetches_each_once_and_in_order(tmp_path: Path) -> None:
    bucket, calls = MemoryBucket(), []

    async def count(call: str) -> None:
        calls.append(call)

    entries = [await stored(bucket, number) for number in (3, 1, 2)]
    cache = SegmentCache(
        MemoryObjectStore(bucket, CLOCK, before=count), tmp_path / "new" / "dir", InlineOffload()
    )
    paths = await cache.fetch(entries)
    assert [path.read_text() for path in paths] == ["segment 3", "segment 1", "segment 2"]
    assert [path.name for path in paths] == [f"{entry.segment}.parquet" for entry in entries]
    assert await cache.fetch(entries[::-1]) == paths[::-1]
    assert calls == ["objects.read"] * 3


async def test_a_spoilt_file_is_fetched_again(tmp_path: Path) -> None:
    bucket = MemoryBucket()
    known = await stored(bucket, 1)
    (tmp_path / f"{known.segment}.parquet").write_text("half a seg")
    cache = SegmentCache(MemoryObjectStore(bucket, CLOCK), tmp_path, InlineOffload())
    (path,) = await cache.fetch([known])
    assert path.read_text() == "segment 1"
    assert names(tmp_path) == [path.name]


async def test_names_what_is_tampered_with_or_gone(tmp_path: Path) -> None:
    bucket = MemoryBucket()
    known = await stored(bucket, 1)
    cache = SegmentCache(MemoryObjectStore(bucket, CLOCK), tmp_path, InlineOffload())
    was = bucket.objects[known.key]
    bucket.objects[known.key] = msgspec.structs.replace(was, body=b"segment 2")
    with pytest.raises(Tampered, match=known.key):
        await cache.fetch([known])
    del bucket.objects[known.key]
    with pytest.raises(Incomplete, match=known.key):
        await cache.fetch([known])
    assert not names(tmp_path)


async def test_bounded_and_the_first_error_as_it_is() -> None:
    at_once = most = 0

    async def work(number: int) -> int:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        if number == 77:
            raise Unavailable("77")
        return number

    assert await all_of([partial(work, n) for n in range(20)], 3) == list(range(20))
    assert most == 3
    with pytest.raises(Unavailable, match="77"):
        await all_of([partial(work, n) for n in range(70, 90)], 3)
