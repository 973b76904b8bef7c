"""Snapshots see everything that counts, or say that they do not."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from pik.domain.arrivals import Outcome
from pik.domain.errors import Incomplete, NoSuchTable, NotReady, OwnershipConflict, Tampered
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry
from pik.execution.ownership import OwnerRecord
from pik.execution.reading.files import local_files
from pik.execution.reading.snapshot import Snapshot, pinned_snapshot, take_snapshot
from pik.memory.index import MemoryIndex
from pik.ports.index import GenerationState
from reading.streams import DAY, HOUR, START, World, after, arrival, rows, world


def keys(snapshot: Snapshot) -> list[str]:
    return [entry.key for entry in snapshot.segments]


async def some(made: World, count: int = 7) -> list[SegmentEntry]:
    """Segments a second apart, more than a page of any listing holds."""
    landed = []
    for number in range(count):
        landed.append(await made.land(rows([arrival(f"k{number}")]), at=made.clock.now()))
        made.clock.advance(1)
    return landed


async def test_it_names_every_segment_in_order(tmp_path: Path) -> None:
    made = await world(tmp_path)
    landed = await some(made)
    snapshot = await take_snapshot(made.stream, now=made.clock.now())
    assert list(snapshot.segments) == landed
    assert (snapshot.stream_id, snapshot.as_of, snapshot.generation) == ("stream1", made.clock.now(), 1)
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot


async def test_who_was_taken_over_plans_nothing_any_more(tmp_path: Path) -> None:
    """What lands under the old index after the new owner has listed what counts is no event."""
    made = await world(tmp_path)
    await some(made)
    record = OwnerRecord(made.stream.layout.stream_id, "new", "tests", "things", epoch=2)
    await made.stream.objects.create(made.stream.layout.owner, msgspec.json.encode(record))
    old = dataclasses.replace(made.stream, epoch=1)
    with pytest.raises(OwnershipConflict, match="new/tests/things"):
        await take_snapshot(old, now=made.clock.now())
    new = dataclasses.replace(made.stream, epoch=2)
    assert len((await take_snapshot(new, now=made.clock.now())).segments) == 7


async def test_an_empty_stream_has_an_empty_snapshot(tmp_path: Path) -> None:
    made = await world(tmp_path)
    assert (await take_snapshot(made.stream, now=START)).segments == ()


async def test_what_landed_without_a_manifest_row_is_found_and_nothing_is_written(tmp_path: Path) -> None:
    made = await world(tmp_path)
    await some(made, 2)
    orphan = await made.land(rows([arrival("orphan")]), at=made.clock.now(), indexed=False)
    void = await made.land([], at=made.clock.now(), indexed=False)
    made.clock.advance(48 * 3600)  # however long ago
    snapshot = await take_snapshot(made.stream, now=made.clock.now())
    assert orphan in snapshot.segments
    assert void in snapshot.segments
    assert orphan.segment not in made.table.segments
    assert void.segment not in made.table.segments


async def test_hours_that_were_compared_may_be_left_out(tmp_path: Path) -> None:
    made = await world(tmp_path)
    orphan = await made.land(rows([arrival("old")]), at=made.clock.now(), indexed=False)
    made.clock.advance(3600)
    fresh = await made.land(rows([arrival("new")]), at=made.clock.now(), indexed=False)
    snapshot = await take_snapshot(made.stream, now=made.clock.now(), checked_until=made.clock.now())
    assert keys(snapshot) == [fresh.key]
    assert keys(await take_snapshot(made.stream, now=made.clock.now())) == [orphan.key, fresh.key]


async def test_segments_of_a_generation_that_does_not_count_are_ignored(tmp_path: Path) -> None:
    made = await world(tmp_path)
    first = await made.land(rows([arrival("a")]), at=START)
    await made.ready()
    # a writer of generation 1 that was paused over the reindex
    straggler = await made.land(rows([arrival("b")]), at=after(1), indexed=False)
    made.table.segments[straggler.segment] = straggler  # even with a manifest row
    await made.land(rows([arrival("c")]), at=after(2), indexed=False)
    second = await made.land(rows([arrival("d")]), at=after(3), generation=2)
    assert keys(await take_snapshot(made.stream, now=after(9))) == [first.key, second.key]


async def test_an_object_of_a_manifest_row_that_is_gone_is_missed(tmp_path: Path) -> None:
    made = await world(tmp_path)
    landed = await some(made)
    del made.bucket.objects[landed[3].key]
    with pytest.raises(Incomplete, match=landed[3].key):
        await take_snapshot(made.stream, now=made.clock.now())


async def test_an_object_that_was_gone_before_a_reindex_is_missed_too(tmp_path: Path) -> None:
    made = await world(tmp_path)
    landed = await some(made)
    await made.ready()
    del made.bucket.objects[landed[3].key]
    made.table.drop()
    await made.ready()
    assert landed[3].segment not in made.table.segments
    with pytest.raises(Incomplete, match=landed[3].key):
        await take_snapshot(made.stream, now=made.clock.now())


async def test_an_unindexed_object_that_is_no_segment_is_named(tmp_path: Path) -> None:
    made = await world(tmp_path)
    entry = await made.land(rows([arrival("a")]), at=START, indexed=False)
    stored = made.bucket.objects[entry.key]
    made.bucket.objects[entry.key] = msgspec.structs.replace(stored, body=b"not Parquet")
    with pytest.raises(Tampered, match=entry.key):
        await take_snapshot(made.stream, now=after(9))


async def test_a_segment_under_the_name_of_another_is_named(tmp_path: Path) -> None:
    made = await world(tmp_path)
    one = await made.land(rows([arrival("a")]), at=START, indexed=False)
    other = await made.land(rows([arrival("b")]), at=START, indexed=False)
    made.bucket.objects[one.key] = made.bucket.objects[other.key]
    with pytest.raises(Tampered, match=one.key):
        await take_snapshot(made.stream, now=after(9))


class Moving(MemoryIndex):
    """An index that is rebuilt so many times just after its generation, or its manifest, was read."""

    def __init__(self, made: World, moves: int, then: str) -> None:
        super().__init__(made.table, page=3)
        self._made = made
        self._moves = moves
        self._then = then

    async def generation(self) -> GenerationState | None:
        state = await super().generation()
        await self._move("generation")
        return state

    async def segments(self, since: Instant | None = None) -> AsyncIterator[SegmentEntry]:
        async for entry in super().segments(since):
            yield entry
        await self._move("manifest")

    async def _move(self, read: str) -> None:
        if self._moves and read == self._then:
            self._moves -= 1
            await self._made.ready()


def with_index(made: World, index: MemoryIndex) -> World:
    return dataclasses.replace(made, stream=dataclasses.replace(made.stream, index=index))


@pytest.mark.parametrize("then", ["generation", "manifest"])
async def test_an_index_that_moves_is_read_again(tmp_path: Path, then: str) -> None:
    made = await world(tmp_path)
    landed = await some(made)
    moving = with_index(made, Moving(made, 2, then))
    snapshot = await take_snapshot(moving.stream, now=made.clock.now())
    assert list(snapshot.segments) == landed
    assert snapshot.generation == 3


@pytest.mark.parametrize("then", ["generation", "manifest"])
async def test_an_index_that_keeps_moving_gives_no_snapshot(tmp_path: Path, then: str) -> None:
    made = await world(tmp_path)
    await some(made)
    moving = with_index(made, Moving(made, 99, then))
    with pytest.raises(Incomplete, match="kept moving"):
        await take_snapshot(moving.stream, now=made.clock.now())


async def test_an_index_that_is_being_rebuilt_or_gone_gives_no_snapshot(tmp_path: Path) -> None:
    made = await world(tmp_path)
    await some(made)
    await made.stream.index.fence(2, "another")
    with pytest.raises(NotReady):
        await take_snapshot(made.stream, now=made.clock.now())
    made.table.drop()
    with pytest.raises(NoSuchTable):
        await take_snapshot(made.stream, now=made.clock.now())


async def test_an_index_restored_from_before_the_newest_rebuild_gives_no_snapshot(tmp_path: Path) -> None:
    made = await world(tmp_path)
    old = made.table.generation
    await made.ready()
    made.table.generation = old
    with pytest.raises(Incomplete):
        await take_snapshot(made.stream, now=made.clock.now())


async def test_as_of_cuts_by_the_time_from_which_a_segment_is_known(tmp_path: Path) -> None:
    made = await world(tmp_path)
    landed = await some(made)
    snapshot = await take_snapshot(made.stream, landed[4].ingest_time, now=made.clock.now())
    assert list(snapshot.segments) == landed[:5]
    just_before = Instant(landed[4].ingest_time.micros - 1)
    assert list((await take_snapshot(made.stream, just_before, now=made.clock.now())).segments) == landed[:4]


@pytest.mark.parametrize("indexed", [True, False])
async def test_a_segment_that_landed_long_after_its_stamp_is_known_from_its_landing(
    tmp_path: Path, indexed: bool
) -> None:
    made = await world(tmp_path)
    made.clock.advance(61)
    late = await made.land(rows([arrival("a")]), at=START, indexed=indexed)
    assert late.known_from == after(61)
    settled = await made.land(rows([arrival("b")]), at=after(1), indexed=indexed)
    assert settled.known_from == after(1)
    made.clock.advance(9)
    assert keys(await take_snapshot(made.stream, after(60), now=made.clock.now())) == [settled.key]
    assert keys(await take_snapshot(made.stream, after(61), now=made.clock.now())) == [late.key, settled.key]


async def test_retention_is_logical(tmp_path: Path) -> None:
    made = await world(tmp_path, retention_days=2)
    old = await made.land(rows([arrival("old")]), at=START)
    young = await made.land(rows([arrival("young")]), at=Instant(START.micros + DAY))
    midnight = START.micros // DAY * DAY + 3 * DAY
    assert keys(await take_snapshot(made.stream, now=Instant(midnight - 1))) == [old.key, young.key]
    assert keys(await take_snapshot(made.stream, now=Instant(midnight))) == [young.key]
    del made.bucket.objects[old.key]  # lifecycle got to it: nothing is missing
    assert keys(await take_snapshot(made.stream, now=Instant(midnight))) == [young.key]


async def test_a_pin_is_stable(tmp_path: Path) -> None:
    made = await world(tmp_path)
    landed = await some(made, 3)
    as_of = made.clock.now()
    first = await pinned_snapshot(made.stream, as_of)
    assert list(first.segments) == landed
    # a writer with a stamp from before the pin lands within the settling time
    made.clock.advance(5)
    early = await made.land(rows([arrival("early")]), at=after(1))
    assert early in (await take_snapshot(made.stream, as_of, now=made.clock.now())).segments
    second = await pinned_snapshot(made.stream, as_of)
    assert second == first
    assert second.hash == first.hash
    # nor does a reindex move it
    made.table.drop()
    await made.ready()
    third = await pinned_snapshot(made.stream, as_of)
    assert third == first


async def test_a_second_reader_gets_the_pin_of_the_first(tmp_path: Path) -> None:
    made = await world(tmp_path)
    landed = await some(made, 3)
    as_of = made.clock.now()
    theirs: list[Snapshot] = []

    class Overtaken(type(made.stream.objects)):  # type: ignore[misc]
        """Someone else pins between the reading and the creation of ours."""

        async def create(self, key: str, body: bytes, content_type: str = "") -> None:
            if key.startswith(made.stream.layout.snapshots):
                theirs.append(await pinned_snapshot(made.stream, as_of))
                await made.land(rows([arrival("early")]), at=after(1))
            await super().create(key, body, content_type)

    ours = dataclasses.replace(made.stream, objects=Overtaken(made.bucket, made.clock))
    assert await pinned_snapshot(ours, as_of) == theirs[0]
    assert list(theirs[0].segments) == landed


async def test_a_pin_reads_raw_where_the_manifest_lost_a_row(tmp_path: Path) -> None:
    made = await world(tmp_path)
    landed = await some(made, 3)
    first = await pinned_snapshot(made.stream, made.clock.now())
    del made.table.segments[landed[1].segment]
    assert await pinned_snapshot(made.stream, first.as_of) == first
    del made.bucket.objects[landed[1].key]
    with pytest.raises(Incomplete, match=landed[1].key):
        await pinned_snapshot(made.stream, first.as_of)


async def test_a_pin_notices_other_bytes(tmp_path: Path) -> None:
    made = await world(tmp_path)
    landed = await some(made, 3)
    first = await pinned_snapshot(made.stream, made.clock.now())
    made.table.segments[landed[1].segment] = msgspec.structs.replace(landed[1], sha256="0" * 64)
    with pytest.raises(Tampered, match=landed[1].key):
        await pinned_snapshot(made.stream, first.as_of)


async def test_a_pin_of_expired_segments_says_so(tmp_path: Path) -> None:
    made = await world(tmp_path, retention_days=1)
    old = await made.land(rows([arrival("old")]), at=START)
    made.clock.advance(1)
    first = await pinned_snapshot(made.stream, made.clock.now())
    made.clock.advance(2 * DAY / 1e6)
    with pytest.raises(Incomplete, match=f"expired.*{old.key}"):
        await pinned_snapshot(made.stream, first.as_of)


async def test_what_is_to_come_cannot_be_pinned(tmp_path: Path) -> None:
    made = await world(tmp_path)
    with pytest.raises(NotReady):
        await pinned_snapshot(made.stream, after(1))


async def test_the_hash_speaks_of_stream_and_contents_only(tmp_path: Path) -> None:
    made = await world(tmp_path)
    await some(made)
    snapshot = await take_snapshot(made.stream, now=made.clock.now())
    later = await take_snapshot(made.stream, now=Instant(made.clock.now().micros + HOUR))
    assert later.hash == snapshot.hash
    fewer = msgspec.structs.replace(snapshot, segments=snapshot.segments[1:])
    changed = msgspec.structs.replace(snapshot.segments[0], sha256="0" * 64)
    other = msgspec.structs.replace(snapshot, segments=(changed, *snapshot.segments[1:]))
    elsewhere = msgspec.structs.replace(snapshot, stream_id="stream2")
    assert len({snapshot.hash, fewer.hash, other.hash, elsewhere.hash}) == 4


async def test_files_of_a_snapshot_are_those_with_rows(tmp_path: Path) -> None:
    made = await world(tmp_path)
    full = await made.land(rows([arrival("a")], Outcome.ACCEPTED), at=START)
    await made.land([], at=START)
    snapshot = await take_snapshot(made.stream, now=START)
    assert len(snapshot.segments) == 2
    assert [file.name for file in await local_files(made.stream, snapshot)] == [f"{full.segment}.parquet"]
