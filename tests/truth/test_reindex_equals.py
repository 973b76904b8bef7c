"""Dropping the table and rebuilding the index from raw gives the same index, and the same answer to every
question (law 1)."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pik.domain.segments import SegmentEntry
from pik.execution.capture.answers import Answer, Status
from pik.execution.orphans import index_orphans
from pik.execution.reindex import reindex
from pik.execution.seals import remembered, seal_segments
from pik.execution.stream import Deduplication, Stream
from pik.execution.verify import verify
from pik.ports.index import Reservation
from truth.answers import entries_of_events, everything
from truth.kit import Kit, Life, Sent

EXAMPLES = int(os.environ.get("PIK_HISTORIES", "8"))
"""Of each kind of stream; `make truth` looks further."""

arrivals = st.builds(
    Sent,
    key=st.integers(0, 7),
    variant=st.sampled_from([0, 0, 0, 1, 2]),
    at=st.sampled_from([0, 0, 0, 30, -5_000]),
    replay_of=st.sampled_from([None, None, None, "1" * 64]),
)
steps = st.one_of(
    st.tuples(st.just("ingest"), st.lists(arrivals, min_size=1, max_size=6)),
    st.tuples(st.just("die"), st.integers(1, 14), st.booleans(), st.lists(arrivals, min_size=1, max_size=4)),
    st.tuples(st.just("later"), st.sampled_from([0.3, 40.0, 4_000.0])),
    st.tuples(st.just("seal")),
    st.tuples(st.just("reindex")),
    st.tuples(st.just("orphan"), st.integers(0, 5)),
)


async def play(kit: Kit, story: Sequence[tuple[Any, ...]]) -> None:
    await reindex(kit.stream(), kit.table.ensure)
    for step, *how in story:
        match step:
            case "ingest":
                await kit.ingest(how[0])
            case "die":
                await kit.ingest(how[2], Life(how[0], how[1]))
            case "later":
                kit.clock.advance(how[0])
            case "seal":
                await seal_segments(kit.stream(), settle=0)
            case "reindex":
                await reindex(kit.stream(), kit.table.ensure)
            case "orphan":  # as if its writer had died before the manifest row
                rows = sorted(kit.table.segments)
                if rows:
                    del kit.table.segments[rows[how[0] % len(rows)]]
    kit.clock.advance(90)


async def index_of(stream: Stream) -> tuple[list[SegmentEntry], list[Reservation], str | None]:
    """Item by item, but for the generation, which is a new one."""
    entries = [msgspec.structs.replace(entry, generation=0) for entry in await entries_of_events(stream)]
    return [entry async for entry in stream.index.segments()], entries, await remembered(stream)


async def dropped_and_rebuilt(kit: Kit) -> Stream:
    stream = kit.stream()
    kit.table.drop()
    await reindex(stream, kit.table.ensure)
    return stream


@pytest.mark.parametrize("deduplication", list(Deduplication))
@settings(max_examples=EXAMPLES, phases=[Phase.explicit, Phase.generate])
@given(story=st.lists(steps, min_size=3, max_size=9))
def test_a_rebuilt_index_is_the_old_one_and_answers_as_it_did(
    tmp_path_factory: pytest.TempPathFactory, deduplication: Deduplication, story: list[tuple[Any, ...]]
) -> None:
    async def compare() -> None:
        kit = Kit(tmp_path_factory.mktemp("segments"), deduplication)
        await play(kit, story)
        now = kit.clock.now()
        # each is asked of a world of its own, so that the same runs are run in both
        asked, rebuilt = kit.copy(), kit.copy()
        before = await everything(asked.stream(), now)
        stream = await dropped_and_rebuilt(rebuilt)
        assert await everything(stream, now) == before
        # raw that no manifest row was written for has one now, as the timer for orphans would have made it
        await index_orphans(kit.stream())
        assert await index_of(stream) == await index_of(kit.stream())
        assert (await verify(stream)).findings == ()

    asyncio.run(compare())


@pytest.mark.parametrize("seed", range(12))
async def test_of_writers_that_race_whoever_was_told_accepted_has_the_event(
    tmp_path: Path, seed: int
) -> None:
    """Several writers race on a few keys with other payloads, some die, the table goes away meanwhile."""
    kit = Kit(tmp_path, Deduplication.ON_WRITE)
    await reindex(kit.stream(), kit.table.ensure)
    told: list[tuple[Sent, Answer]] = []
    draw = random.Random(seed)

    async def client(number: int) -> None:
        for _ in range(3):
            wanted = [Sent(key, 10 * number + key) for key in draw.sample(range(4), draw.randint(1, 3))]
            for attempt in range(20):
                dies = draw.random() < 0.3 and attempt < 5
                life = Life(draw.randint(1, 12), draw.random() < 0.5) if dies else Life()
                answers = await kit.ingest(wanted, life)
                if answers is not None:
                    told.extend(zip(wanted, answers, strict=True))
                    break
                await kit.clock.sleep(draw.random())
            else:
                raise AssertionError("it was never answered")

    async def disturb() -> None:
        await kit.clock.sleep(draw.random() * 3)
        kit.table.drop()
        await reindex(kit.stream(), kit.table.ensure)

    await asyncio.gather(*(client(number) for number in range(1, 5)), disturb())
    stream = await dropped_and_rebuilt(kit)
    events = {}
    async for info in stream.objects.list(stream.layout.raw):
        _, rows = stream.codec.decode((await stream.objects.read(info.key)).body)
        events |= {(info.key, row.row): row for row in rows}
    index = {entry.event_id: entry async for entry in stream.index.entries()}
    statuses = set()
    for sent, answer in told:
        statuses.add(answer.status)
        entry = index[sent.arrival.event_id]
        event = events[stream.layout.segment(entry.segment), entry.row]
        same = event.arrival.data == sent.arrival.data
        assert same is (answer.status is not Status.CONFLICT), (seed, sent, answer, event)
        if answer.status is Status.ACCEPTED:
            assert (answer.s3_key, answer.row) == (stream.layout.segment(entry.segment), entry.row)
    assert Status.ACCEPTED in statuses
    kit.clock.advance(90)
    assert (await verify(stream)).ok
