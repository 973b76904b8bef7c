"""The seal chain: every segment that counts is in exactly one seal, and each seal names the one before."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrity.bench import Bench, arrival
from pik.domain.arrivals import Outcome, Row
from pik.domain.errors import NotReady, Tampered, Unavailable
from pik.execution.reindex import reindex
from pik.execution.seals import Chain, Seal, continue_seals, read_seals, seal_segments
from pik.execution.verify import verify


def sealed(bench: Bench) -> list[Seal]:
    return [msgspec.json.decode(bench.body(key), type=Seal) for key in bench.seals()]


def keys(seal: Seal) -> list[str]:
    return [segment.key for segment in seal.segments]


async def test_a_seal_names_each_segment_with_the_hash_and_size_of_its_bytes() -> None:
    bench = Bench()
    stream = await bench.ready()
    for n in range(3):
        await bench.ingest(arrival(f"{n}"))
    (seal,) = await seal_segments(stream, settle=0)
    assert keys(seal) == bench.raw()
    for segment in seal.segments:
        body = bench.body(segment.key)
        assert (segment.sha256, segment.bytes) == (sha256(body).hexdigest(), len(body))
    record = stream.layout.generation(1)
    assert (seal.generation.key, seal.generation.sha256) == (record, sha256(bench.body(record)).hexdigest())
    assert (seal.number, seal.previous) == (1, None)


async def test_the_next_seal_names_only_what_is_new_and_the_hash_of_the_one_before() -> None:
    bench = Bench()
    stream = await bench.ready()
    await bench.ingest(arrival("a"))
    await seal_segments(stream, settle=0)
    first = bench.raw()
    await bench.ingest(arrival("b"))
    (second,) = await seal_segments(stream, settle=0)
    assert keys(second) == [key for key in bench.raw() if key not in first]
    assert (second.number, second.previous) == (2, sha256(bench.body(bench.seals()[0])).hexdigest())
    assert await seal_segments(stream, settle=0) == []


async def test_what_may_still_be_landing_waits_for_a_later_seal() -> None:
    bench = Bench()
    stream = await bench.ready()
    await bench.ingest(arrival("a"), step=30)
    await bench.ingest(arrival("b"), step=31)
    (seal,) = await seal_segments(stream, settle=60)
    assert keys(seal) == bench.raw()[:1]
    bench.clock.advance(60)
    (later,) = await seal_segments(stream, settle=60)
    assert keys(later) == bench.raw()[1:]


async def test_the_hash_is_the_writers_own_and_not_that_of_bytes_changed_before_the_seal() -> None:
    bench = Bench()
    stream = await bench.ready()
    await bench.ingest(arrival("a"))
    written = sha256(bench.body(bench.raw()[0])).hexdigest()
    bench.flip(bench.raw()[0], 500)
    (seal,) = await seal_segments(stream, settle=0)
    assert seal.segments[0].sha256 == written


async def test_a_segment_that_was_removed_before_its_seal_is_in_it() -> None:
    bench = Bench()
    stream = await bench.ready()
    await bench.ingest(arrival("a"))
    (gone,) = bench.raw()
    bench.remove(gone)
    (seal,) = await seal_segments(stream, settle=0)
    assert keys(seal) == [gone]


async def test_voids_and_segments_without_a_manifest_row_are_sealed_by_their_bytes() -> None:
    bench = Bench()
    stream = await bench.ready()
    await bench.ingest(arrival("a"))
    (orphan,) = bench.raw()
    bench.table.segments.clear()
    await bench.void()
    (seal,) = await seal_segments(stream, settle=0)
    assert keys(seal) == bench.raw()
    assert len(keys(seal)) == 2
    assert orphan in keys(seal)
    assert all(s.sha256 == sha256(bench.body(s.key)).hexdigest() for s in seal.segments)


async def test_segments_that_do_not_count_and_foreign_objects_are_not_sealed() -> None:
    bench = Bench()
    stream = await bench.ready()
    await bench.ingest(arrival("a"))
    (counts,) = bench.raw()
    bench.clock.advance(1)
    await reindex(stream, bench.table.ensure)
    bench.straggler()
    bench.bucket.objects[stream.layout.raw + "notes.txt"] = bench.bucket.objects[counts]
    (seal,) = await seal_segments(stream, settle=0)
    assert keys(seal) == [counts]


async def test_what_is_past_retention_is_not_sealed_and_what_expired_stays_in_its_seal() -> None:
    bench = Bench(retention_days=1)
    stream = await bench.ready()
    await bench.ingest(arrival("a"))
    await seal_segments(stream, settle=0)
    bench.remove(bench.raw()[0])
    await bench.ingest(arrival("b"))
    bench.clock.advance(3 * 86_400)
    await bench.ingest(arrival("c"))
    (seal,) = await seal_segments(stream, settle=0)
    assert keys(seal) == bench.raw()[1:]


async def test_many_segments_make_several_linked_seals() -> None:
    bench = Bench(page=2)
    stream = await bench.ready()
    for n in range(7):
        await bench.ingest(arrival(f"{n}"))
    seals = await seal_segments(stream, settle=0, max_segments=3)
    assert [len(keys(seal)) for seal in seals] == [3, 3, 1]
    assert [key for seal in seals for key in keys(seal)] == bench.raw()
    hashes = [sha256(bench.body(key)).hexdigest() for key in bench.seals()]
    assert [seal.previous for seal in seals] == [None, *hashes[:-1]]
    assert [stored.sha256 async for stored in read_seals(stream)] == hashes


async def test_a_new_generation_is_sealed_though_no_segment_is_new() -> None:
    bench = Bench()
    stream = await bench.ready()
    await bench.ingest(arrival("a"))
    await seal_segments(stream, settle=0)
    await reindex(stream, bench.table.ensure)
    (seal,) = await seal_segments(stream, settle=0)
    assert keys(seal) == []
    assert seal.generation.key == stream.layout.generation(2)


@pytest.mark.parametrize("turns", range(12))
async def test_two_writers_race_and_no_segment_is_sealed_twice_or_missed(turns: int) -> None:
    bench = Bench()
    await bench.ready()
    for n in range(4):
        await bench.ingest(arrival(f"{n}"))

    async def yielding(_: str) -> None:
        await asyncio.sleep(0)

    async def slower(_: str) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    made = await asyncio.gather(
        seal_segments(bench.stream(yielding), 0, max_segments=1),
        seal_segments(bench.stream(slower), 0, max_segments=1),
    )
    chain = sealed(bench)
    assert [seal.number for seal in chain] == [1, 2, 3, 4]
    assert [key for seal in chain for key in keys(seal)] == bench.raw()
    assert sorted(seal.number for mine in made for seal in mine) == [1, 2, 3, 4]


async def test_a_lost_answer_makes_no_second_seal() -> None:
    bench = Bench()
    await bench.ready()
    await bench.ingest(arrival("a"))
    lost = []

    async def after(call: str) -> None:
        if call == "objects.create" and not lost:
            lost.append(call)
            raise Unavailable(call)

    (seal,) = await seal_segments(bench.stream(after=after), settle=0)
    assert lost
    assert sealed(bench) == [seal]


async def test_a_broken_chain_is_not_continued() -> None:
    bench = Bench()
    stream = await bench.ready()
    for n in range(3):
        await bench.ingest(arrival(f"{n}"))
        await seal_segments(stream, settle=0)
    first, second, _ = bench.seals()
    whole = bench.body(second)
    for change in (lambda: bench.remove(first), lambda: bench.overwrite(second, b"{}")):
        kept = dict(bench.bucket.objects)
        change()
        with pytest.raises(Tampered, match="pik verify"):
            await seal_segments(stream, settle=0)
        bench.bucket.objects = kept
    bench.overwrite(first, bench.body(first) + b" ")
    assert bench.body(second) == whole
    with pytest.raises(Tampered, match=second):
        await seal_segments(stream, settle=0)


async def test_a_stream_that_was_never_ready_has_nothing_to_seal() -> None:
    with pytest.raises(NotReady):
        await seal_segments(Bench().stream(), settle=0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["ingest", "seal", "other", "late", "whole"]), st.integers(0, 200)),
        max_size=25,
    )
)
async def test_a_chain_that_is_remembered_says_the_same_as_one_that_is_read(
    steps: list[tuple[str, int]],
) -> None:
    """One process remembers the chain and another reads it whole; segments land in time and hours late.
    Together they name each segment once, each seal follows the one before, and whoever reads all of it in
    the end has nothing left to name but what landed too late for the one that remembers."""
    bench = Bench()
    stream = await bench.ready()
    chain: Chain | None = None
    for number, (step, minutes) in enumerate(steps):
        bench.clock.advance(minutes * 60)
        if step == "ingest":
            await bench.ingest(arrival(f"{number}"))
        elif step == "late":
            await bench.plant(Row(0, arrival(f"{number}"), Outcome.RECORDED), ago=minutes * 100)
        elif step == "other":
            await seal_segments(bench.stream(), settle=60)
        else:
            _, chain = await continue_seals(stream, 60, None if step == "whole" else chain)
    bench.clock.advance(61)
    _, chain = await continue_seals(stream, 60, chain)
    last = await seal_segments(stream, settle=60)
    named = [key for seal in sealed(bench) for key in keys(seal)]
    assert sorted(named) == bench.raw()
    assert [seal.number for seal in sealed(bench)] == list(range(1, len(sealed(bench)) + 1))
    hashes = [sha256(bench.body(key)).hexdigest() for key in bench.seals()]
    assert [seal.previous for seal in sealed(bench)] == [None, *hashes[:-1]][: len(hashes)]
    assert chain.since is not None
    for seal in last:
        for key in keys(seal):
            assert stream.layout.segment_of(key).stamp_millis * 1_000 < chain.since.micros


async def test_a_chain_that_is_remembered_is_not_read_again() -> None:
    bench = Bench()
    calls: list[str] = []

    async def before(call: str) -> None:
        calls.append(call)

    await bench.ready()
    stream = bench.stream(before)
    chain: Chain | None = None
    for number in range(30):
        await bench.ingest(arrival(f"{number}"), step=300)
        calls.clear()
        made, chain = await continue_seals(stream, 60, chain)
        assert len(made) == 1
        if number:
            # generations, their newest, raw, manifest, owner; the new seal, and its mark in the index
            assert len(calls) <= 7, calls
    assert len(chain.keys) < 45  # of three hours and no more
    assert (await verify(bench.stream())).findings == ()
