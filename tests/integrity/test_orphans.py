"""What landed and was not indexed is found and indexed, exactly as its writer would have done it."""

from __future__ import annotations

import pytest

from integrity.bench import Bench, arrival, arrivals
from pik.domain.errors import NoSuchTable, NotReady
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry, SegmentID
from pik.execution.orphans import index_orphans
from pik.execution.reindex import reindex
from pik.execution.stream import Deduplication
from pik.execution.verify import verify


async def bench_of(segments: int = 4, **kwargs: object) -> Bench:
    bench = Bench(**kwargs)  # type: ignore[arg-type]
    await bench.ready()
    for seed in range(segments):
        await bench.ingest(*arrivals(10, seed), step=1_800)
    return bench


def lost(bench: Bench, *places: int) -> dict[SegmentID, SegmentEntry]:
    """Takes manifest rows away, as if their writers had died before step 5; all of them as they were."""
    whole = dict(bench.table.segments)
    for place in places:
        del bench.table.segments[sorted(whole)[place]]
    return whole


@pytest.mark.parametrize("deduplication", list(Deduplication))
async def test_the_manifest_is_as_if_no_writer_had_died(deduplication: Deduplication) -> None:
    bench = await bench_of(deduplication=deduplication, page=2)
    whole = lost(bench, 1, 3)
    done = await index_orphans(bench.stream())
    assert bench.table.segments == whole
    assert [entry.segment for entry in done.indexed] == [sorted(whole)[1], sorted(whole)[3]]
    assert done.listed == 4
    assert (await verify(bench.stream())).findings == ()
    assert (await index_orphans(bench.stream())).indexed == ()


async def test_only_the_hours_from_since_on_are_looked_at() -> None:
    bench = await bench_of(4)
    whole = lost(bench, 0, 2, 3)
    third = sorted(whole)[2]
    done = await index_orphans(bench.stream(), Instant(third.stamp_millis * 1000 + 900_000_000))
    assert [entry.segment for entry in done.indexed] == sorted(whole)[2:]
    assert done.listed == 2


async def test_a_void_gets_its_row_too_so_that_counts_of_objects_and_rows_agree() -> None:
    bench = await bench_of(1)
    key = await bench.void()
    (entry,) = (await index_orphans(bench.stream())).indexed
    assert (entry.key, entry.rows, entry.event_time) == (key, 0, None)


async def test_what_landed_late_is_known_from_then() -> None:
    bench = await bench_of(1)
    lost(bench, 0)
    (key,) = bench.raw()
    stored = bench.bucket.objects[key]
    late = Instant(stored.last_modified.micros + 61_000_000)
    bench.bucket.objects[key] = type(stored)(stored.body, stored.etag, late)
    (entry,) = (await index_orphans(bench.stream())).indexed
    assert entry.known_from == late
    lost(bench, 0)
    (entry,) = (await index_orphans(bench.stream(), settle=120)).indexed
    assert entry.known_from == entry.ingest_time


async def test_what_does_not_count_or_is_past_retention_stays_out() -> None:
    bench = await bench_of(2, retention_days=1)
    stream = bench.stream()
    bench.clock.advance(3 * 86_400)
    await bench.ingest(arrival("new"))
    await reindex(stream, bench.table.ensure)
    old, _, new = bench.raw()
    bench.straggler()
    bench.bucket.objects[stream.layout.raw + "notes.txt"] = bench.bucket.objects[old]
    bench.table.segments.clear()
    assert [entry.key for entry in (await index_orphans(stream)).indexed] == [new]


async def test_an_object_that_is_no_segment_does_not_keep_the_others_out() -> None:
    bench = await bench_of(3)
    lost(bench, 0, 1, 2)
    damaged = bench.raw()[1]
    bench.overwrite(damaged, b"no segment")
    done = await index_orphans(bench.stream())
    assert len(done.indexed) == 2
    assert len(done.unreadable) == 1
    assert damaged in done.unreadable[0]


async def test_nothing_is_written_to_an_index_that_is_being_rebuilt() -> None:
    bench = await bench_of(2)
    whole = lost(bench, 0, 1)

    async def fence(call: str) -> None:
        if call == "index.put_segment":
            await bench.stream().index.fence(2, "another")

    with pytest.raises(NotReady):
        await index_orphans(bench.stream(before=fence))
    with pytest.raises(NotReady):
        await index_orphans(bench.stream())
    assert bench.table.segments == {}
    await reindex(bench.stream(), bench.table.ensure)
    assert bench.table.segments == whole
    bench.table.drop()
    with pytest.raises(NoSuchTable):
        await index_orphans(bench.stream())
