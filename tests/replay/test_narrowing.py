"""An entity's slice is the same whether all segments are read or those that decide it, and whatever becomes
of the files by which these are found."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pik.domain.arrivals import Arrival, Outcome
from pik.domain.segments import SegmentEntry
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.narrowing import PLACES, deciding
from pik.execution.stream import Deduplication, Stream
from pik.ports.segments import SegmentFiles
from reading.streams import START, World, after, arrival, rows, world
from replay.slices import begin, spec
from replay.slices import rows as sent_rows

ENTITIES = ["e1", "e2"]
ARRIVALS = st.builds(
    lambda key, minute, payload, entity: arrival(
        f"k{key}", after(60 * minute), b'{"v": %d}' % payload, entity_id=f"e{entity}"
    ),
    st.integers(0, 5),
    st.integers(-30, 90),
    st.integers(0, 1),
    st.integers(0, 4),
)
SEGMENTS = st.lists(st.lists(ARRIVALS, min_size=1, max_size=4), min_size=1, max_size=8)
SELECTS = st.fixed_dictionaries(
    {},
    optional={
        "limit": st.integers(1, 6),
        "duplicates": st.sampled_from(["First", "All"]),
        "where": st.just("event_time_rest = ''"),
    },
)


@dataclass
class Watched:
    """Tells which segments were fetched. `directory` None: nothing is kept beside them."""

    files: SegmentFiles
    directory: Path | None

    def __post_init__(self) -> None:
        self.fetched: set[str] = set()

    async def fetch(self, entries: Sequence[SegmentEntry]) -> list[Path]:
        self.fetched |= {str(entry.segment) for entry in entries}
        return await self.files.fetch(entries)


def condition(text: str) -> str:
    return text


def plain(stream: Stream) -> Stream:
    """It reads all that there is."""
    return replace(stream, files=Watched(stream.files, None))


async def answer(stream: Stream, what: Any, now: Any) -> tuple[Any, ...]:
    """What the exact dry run counts, and the events in their order."""
    selector = DuckDBSelector(stream, condition)
    snapshot = await take_snapshot(stream, now=now)
    measured = await selector.measure(what, snapshot.segments)
    plan = await begin(stream, selector, what, key=str(len(snapshot.segments)))
    sent = [event async for piece in selector.read(plan, 0, 0) for event in sent_rows(piece)]
    return measured.measure, measured.stale_entities, sent


async def land(made: World, number: int, arrivals: list[Arrival]) -> None:
    at = after(600 * number)
    made.clock.advance(max(0, (at.micros - made.clock.now().micros) / 1_000_000))
    await made.land(rows(arrivals, Outcome.RECORDED), at=at)


@settings(max_examples=25, deadline=None)
@given(
    segments=SEGMENTS,
    select=SELECTS,
    field=st.sampled_from(["EventTime", "IngestTime"]),
    looks=st.sets(st.integers(0, 7)),
)
def test_the_narrowed_selection_is_the_plain_one(
    segments: list[list[Arrival]], select: dict[str, Any], field: str, looks: set[int]
) -> None:
    """Looked at now and then, while the stream grows: what is known of it grows, too."""
    window = {"from": START.text, "to": after(3_600).text, "field": field}
    what = spec(select={**select, "window": window, "entities": ENTITIES})

    async def check() -> None:
        with TemporaryDirectory() as directory:
            made = await world(Path(directory), Deduplication.ON_READ)
            for number, arrivals in enumerate(segments):
                await land(made, number, arrivals)
                if number in looks or number == len(segments) - 1:
                    narrowed = await answer(made.stream, what, made.clock.now())
                    # of the same run and with the same hash, so that it may be sent by either
                    assert narrowed == await answer(plain(made.stream), what, made.clock.now())

    asyncio.run(check())


@settings(max_examples=40, deadline=None)
@given(segments=SEGMENTS, looks=st.sets(st.integers(0, 7)), most_rows=st.integers(1, 30))
def test_the_segments_that_decide_are_named_and_no_others(
    segments: list[list[Arrival]], looks: set[int], most_rows: int
) -> None:
    async def check() -> None:
        with TemporaryDirectory() as directory:
            made = await world(Path(directory), Deduplication.ON_READ)
            for number, arrivals in enumerate(segments):
                await land(made, number, arrivals)
                if number in looks or number == len(segments) - 1:
                    snapshot = await take_snapshot(made.stream, now=made.clock.now())
                    found = await deciding(made.stream, ENTITIES, snapshot.segments, most_rows=most_rows)
                    so_far = segments[: number + 1]
                    ids = {a.event_id for some in so_far for a in some if a.entity_id in ENTITIES}
                    decide = [any(a.event_id in ids for a in some) for some in so_far]
                    assert [entry in found for entry in snapshot.segments] == decide

    asyncio.run(check())


async def test_only_what_decides_is_opened_once_the_rest_is_known(tmp_path: Path) -> None:
    made = await world(tmp_path, Deduplication.ON_READ)
    for number in range(20):
        await land(made, number, [arrival(f"k{number}", after(number), entity_id=f"e{number % 10}")])
    conflict = arrival("k3", after(-60), b'{"v": 1}', entity_id="other")  # it came later
    await land(made, 20, [conflict])
    what = spec(select={"entities": ["e3"]})
    await begin(made.stream, DuckDBSelector(made.stream, condition), what)
    watched = Watched(made.stream.files, tmp_path)
    stream = replace(made.stream, files=watched)
    plan = await begin(stream, DuckDBSelector(stream, condition), what, key="2")
    assert plan.measure.matched == 2
    assert len(watched.fetched) == 3
    assert len(plan.reads) == 2, "what came after the last of the slice decides nothing of it"
    assert len(list((tmp_path / PLACES).iterdir())) == 1


async def test_an_event_id_that_fills_blocks_of_keys(tmp_path: Path) -> None:
    """Sixty-four keys have one checksum: ids that come more often than that, and just as often."""
    made = await world(tmp_path, Deduplication.ON_READ)
    for number in range(6):
        often = [arrival("often", after(n), entity_id=f"e{n % 3}") for n in range(64 * number)]
        more = [arrival(f"k{number * n}", after(n), entity_id=f"f{n}") for n in range(130)]
        await land(made, number, [*often, *more])
    snapshot = await take_snapshot(made.stream, now=made.clock.now())

    async def decide(entity: str) -> list[int]:
        found = await deciding(made.stream, [entity], snapshot.segments)
        return [number for number, entry in enumerate(snapshot.segments) if entry in found]

    assert await decide("e2") == [1, 2, 3, 4, 5]
    assert await decide("f0") == [0, 1, 2, 3, 4, 5]
    for n in range(1, 130):
        ids = {number * n for number in range(6)}
        wanted = [number for number in range(6) if any(number * m in ids for m in range(130))]
        assert await decide(f"f{n}") == wanted
    assert await decide("nobody") == []


@pytest.mark.parametrize("part", ["flipped", "cut", "empty"])
async def test_damage_is_noticed_and_made_good(tmp_path: Path, part: str) -> None:
    made = await world(tmp_path, Deduplication.ON_READ)
    for number in range(3):
        await land(
            made, number, [arrival(f"k{n}", after(n), entity_id=f"e{n % 50}") for n in range(number, 150)]
        )
    snapshot = await take_snapshot(made.stream, now=made.clock.now())

    async def decide() -> list[SegmentEntry]:
        return await deciding(made.stream, [f"e{n}" for n in range(50)], snapshot.segments)

    whole = await decide()
    [path] = (tmp_path / PLACES).iterdir()
    good = path.read_bytes()
    for at in range(0, len(good), 499):
        damaged = {
            "flipped": good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :],
            "cut": good[:at],
            "empty": b"",
        }
        path.write_bytes(damaged[part])
        assert await decide() == whole
        assert path.read_bytes() == good, f"byte {at} is as it was"


async def test_a_file_that_goes_while_the_folder_is_listed_is_not_missed(tmp_path: Path) -> None:
    made = await world(tmp_path, Deduplication.ON_READ)
    await land(made, 0, [arrival("k", after(1))])
    snapshot = await take_snapshot(made.stream, now=made.clock.now())
    (tmp_path / PLACES).mkdir()
    (tmp_path / PLACES / "gone.places").symlink_to(tmp_path / "nowhere")
    assert await deciding(made.stream, ["e1"], snapshot.segments) == list(snapshot.segments)


async def test_a_folder_that_takes_nothing_is_no_reason_not_to_plan(tmp_path: Path) -> None:
    made = await world(tmp_path, Deduplication.ON_READ)
    for number in range(2):
        await land(made, number, [arrival(f"k{number}", after(1), entity_id=f"e{number}")])
    (tmp_path / PLACES).write_text("no folder")
    snapshot = await take_snapshot(made.stream, now=made.clock.now())
    assert await deciding(made.stream, ["e0"], snapshot.segments) == list(snapshot.segments)
