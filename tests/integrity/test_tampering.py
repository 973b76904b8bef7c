"""Whatever is changed behind a stream's back is found, every time, and named."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from random import Random

import msgspec
import pytest

from integrity.bench import Bench, arrivals
from integrity.tampering import ALL, OWNER, Change, full, scene
from pik.domain.errors import Tampered
from pik.execution.ownership import Claimant, claim
from pik.execution.reindex import reindex
from pik.execution.seals import SealHead, seal_segments
from pik.execution.stream import Deduplication
from pik.execution.verify import Kind, Verification, verify
from pik.memory.index import MemoryTable
from pik.memory.objects import MemoryBucket

FLIPS = int(os.environ.get("PIK_FLIPS", "80"))
"""`PIK_FLIPS=20000 python -m pytest tests/integrity/test_tampering.py -k flipped` looks further."""


@pytest.fixture(scope="module")
def whole() -> Bench:
    """A stream of which nothing is wrong."""

    async def make() -> Bench:
        bench = await scene(Deduplication.ON_WRITE)
        result = await checked(bench)
        assert result.findings == ()
        assert result.ok
        return bench

    return asyncio.run(make())


def copied(bench: Bench) -> Bench:
    """To be tampered with."""
    table = bench.table
    return replace(
        bench,
        bucket=MemoryBucket(objects=dict(bench.bucket.objects)),
        table=MemoryTable(
            generation=table.generation,
            entries=dict(table.entries),
            segments=dict(table.segments),
            marks={run: dict(marks) for run, marks in table.marks.items()},
        ),
    )


async def checked(bench: Bench, kept: SealHead | None = None) -> Verification:
    return await verify(bench.stream(), owner=str(OWNER), kept=kept)


@pytest.mark.parametrize("change", ALL, ids=str)
async def test_what_is_changed_is_found_and_named(whole: Bench, change: Change) -> None:
    bench = copied(whole)
    key = change.do(bench)
    result = await checked(bench)
    named = [finding for finding in result.findings if finding.object == key]
    assert named, (key, result.findings, result.unread)
    assert result.ok is change.note, result
    if change.rows:
        assert any(
            finding.rows is not None or finding.message.endswith("every row in it is as it was written")
            for finding in named
        ), named


@pytest.mark.parametrize("change", [c for c in ALL if c.sealed], ids=str)
async def test_no_reindex_blesses_a_change_of_what_is_sealed(whole: Bench, change: Change) -> None:
    """Where raw itself can still be read: else it is the reindex that names it."""
    bench = copied(whole)
    key = change.do(bench)
    bench.table.drop()
    try:
        await reindex(bench.stream(), bench.table.ensure)
        named = {finding.object for finding in (await checked(bench)).errors}
    except Tampered as error:
        named = {str(error).partition(":")[0]}
    assert named & {key, full(whole)[0], full(whole)[1]}, (key, named)


@pytest.mark.parametrize("part", range(4))
async def test_any_flipped_bit_of_any_object_is_found(whole: Bench, part: int) -> None:
    random = Random(part)
    for _ in range(FLIPS // 4):
        bench = copied(whole)
        key = random.choice(sorted(bench.bucket.objects))
        position, bit = random.randrange(len(bench.body(key))), random.randrange(8)
        bench.flip(key, position, 1 << bit)
        result = await checked(bench)
        assert not result.ok, (key, position, bit)


@pytest.mark.parametrize("lost", ["ready", "all of it"])
async def test_an_index_that_is_not_whole_is_no_witness_and_the_result_says_so(
    whole: Bench, lost: str
) -> None:
    bench = copied(whole)
    assert bench.table.generation is not None
    bench.table.generation = (
        msgspec.structs.replace(bench.table.generation, ready=False) if lost == "ready" else None
    )
    result = await checked(bench)
    assert not result.complete
    assert result.findings == ()


async def test_the_last_seal_is_missed_with_the_index_gone_by_whoever_kept_it(whole: Bench) -> None:
    bench = copied(whole)
    head = (await checked(bench)).head
    assert head is not None
    last = bench.seals()[-1]
    bench.remove(last)
    bench.table.drop()
    await reindex(bench.stream(), bench.table.ensure)
    assert (await checked(bench)).ok  # nothing in bucket or table tells
    result = await checked(bench, head)
    assert [(finding.kind, finding.object) for finding in result.errors] == [(Kind.SEAL_MISSING, last)]


async def test_a_repair_leaves_nothing_to_find(whole: Bench) -> None:
    """The index is worth nothing beside raw: a reindex makes it as it was."""
    bench = copied(whole)
    bench.table.segments.clear()
    bench.table.entries.clear()
    bench.table.marks.clear()
    found = await checked(bench)
    assert {finding.kind for finding in found.findings} == {
        Kind.SEAL_NEW,
        Kind.UNINDEXED,
        Kind.INDEX_CONTRADICTS,
    }
    assert {finding.event_id for finding in found.findings} > {event.event_id for event in arrivals(20, 0)}
    assert set(full(whole)) <= {finding.object for finding in found.findings}
    await reindex(bench.stream(), bench.table.ensure)
    assert (await checked(bench)).findings == ()


async def test_a_takeover_is_no_tampering(whole: Bench) -> None:
    bench = copied(whole)
    stream = bench.stream()
    new = Claimant("there", OWNER.namespace, OWNER.name)
    for owner, before in ((new, OWNER), (OWNER, new)):  # and back
        await claim(stream.objects, "kit/", owner, stream.entropy, take_over_from=str(before))
        assert (await verify(stream, owner=str(owner))).findings == ()
        assert [f.kind for f in (await verify(stream, owner=str(before))).errors] == [Kind.OWNER_ALTERED]
        await bench.ingest(*arrivals(3, 300))
        await seal_segments(stream, settle=0)
        bench.clock.advance(120)
        assert (await verify(stream, owner=str(owner))).findings == ()
