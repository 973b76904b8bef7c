"""What a stream holds, counted without reading all of its manifest every time."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from pik.controller.counting import Counts, Tally
from pik.domain.arrivals import Outcome
from pik.domain.instants import Instant
from pik.domain.layout import segment_id
from pik.domain.segments import SegmentEntry
from pik.memory.index import MemoryIndex, MemoryTable

MINUTE = 60_000_000
START = 1_764_000_000_000_000


class CountedIndex(MemoryIndex):
    """Knows how many manifest rows were read."""

    read = 0

    async def segments(self, since: Instant | None = None) -> AsyncIterator[SegmentEntry]:
        async for entry in super().segments(since):
            self.read += 1
            yield entry


def landed(table: MemoryTable, number: int, micros: int, outcomes: dict[str, int]) -> None:
    segment = segment_id(Instant(micros), f"{number:020x}", 1)
    rows = sum(outcomes.values())
    table.segments[segment] = SegmentEntry(
        segment=segment,
        key=str(segment),
        sha256="",
        bytes=0,
        rows=rows,
        ingest_time=Instant(micros),
        known_from=Instant(micros),
        event_time=None,
        received_time=None,
        outcomes=outcomes,
        sources=(),
        event_types=(),
        sources_complete=True,
        event_types_complete=True,
    )


OUTCOMES = st.dictionaries(
    st.sampled_from([Outcome.ACCEPTED.value, Outcome.DUPLICATE.value, Outcome.CONFLICT.value]),
    st.integers(1, 5),
)


@given(st.lists(st.tuples(st.integers(0, 90), OUTCOMES), max_size=40), st.integers(1, 7))
async def test_the_same_as_counting_everything(steps: list[tuple[int, dict[str, int]]], every: int) -> None:
    """Segments land as time goes on; at any look the tally says what one that starts afresh says."""
    table = MemoryTable()
    tally = Tally(MemoryIndex(table), whole_every=1e9)
    now = START
    for number, (minutes, outcomes) in enumerate(steps):
        now += minutes * MINUTE
        landed(table, number, now, outcomes)
        if number % every == 0:
            assert await tally.count(Instant(now)) == await Tally(MemoryIndex(table)).count(Instant(now))
    expected = [outcomes for _, outcomes in steps]
    counts = await tally.count(Instant(now))
    assert counts.events == sum(one.get("ACCEPTED", 0) for one in expected)
    assert counts.duplicates == sum(one.get("DUPLICATE", 0) for one in expected)
    assert counts.conflicts == sum(one.get("CONFLICT", 0) for one in expected)
    assert (counts.first_ingest is not None) == (counts.events > 0)


async def test_old_hours_are_not_read_again_but_for_now_and_then() -> None:
    table = MemoryTable()
    for number in range(100):
        landed(table, number, START + number * 10 * MINUTE, {"ACCEPTED": 1})
    now = Instant(START + 1_000 * MINUTE)
    index = CountedIndex(table)
    tally = Tally(index, whole_every=3_600)
    assert (await tally.count(now)).events == 100
    assert index.read == 100
    assert (await tally.count(now)).events == 100
    assert index.read < 130
    landed(table, 1_000, START + 5 * MINUTE, {"ACCEPTED": 1})  # indexed late, of an early hour
    assert (await tally.count(now)).events == 100
    assert (await tally.count(Instant(now.micros + 61 * MINUTE))).events == 101


async def test_a_void_counts_for_nothing() -> None:
    table = MemoryTable()
    landed(table, 1, START, {})
    assert await Tally(MemoryIndex(table)).count(Instant(START)) == Counts(segments=1)
