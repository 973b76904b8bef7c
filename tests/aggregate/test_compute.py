"""Versions: what goes into them, as known when, and what names them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from aggregate.questions import EVERYTHING, aggregates, answer, definition, inputs_hash, rows
from pik.api.aggregate_version import KnownBy
from pik.domain.arrivals import Outcome
from pik.domain.errors import (
    NoSuchObject,
    NotReady,
)
from pik.domain.instants import Instant
from pik.execution.aggregate.differences import inputs_of
from pik.execution.aggregate.records import read_answer, versions
from pik.execution.stream import Deduplication
from pik.planning.definitions import version_of
from reading.streams import START, after, arrival, world
from reading.streams import rows as as_rows


async def test_a_version_is_named_by_its_definition_and_its_events(tmp_path: Path) -> None:
    made = await world(tmp_path)
    inside = [arrival(f"k{n}", after(n), b'{"x": %d}' % n) for n in range(7)]
    outside = [arrival("before", after(-1)), arrival("end", after(100))]
    await made.land(as_rows([*inside, *outside]), at=START)
    asked = definition(START, after(100), ("n", "count(*)"), ("sum", "sum(payload.x)"), where="payload.x > 1")
    found = await answer(made, asked)
    record = found.record
    assert record.inputs_hash == inputs_hash(inside[2:])
    assert record.definition_hash == asked.hash
    assert record.version == version_of(asked.hash, record.inputs_hash)
    assert (record.input_count, record.row_count) == (5, 1)
    assert record.sample_event_ids == tuple(sorted(a.event_id for a in inside[2:]))
    assert await rows(made, found) == [(5, 20)]
    assert await read_answer(made.stream, found.version) == found
    assert await versions(made.stream) == [record]
    listed = await inputs_of(made.stream, found)
    assert listed["event_id"].to_pylist() == list(record.sample_event_ids)
    places = zip(listed["event_id"].to_pylist(), listed["row"].to_pylist(), strict=True)
    assert dict(places) == {a.event_id: n for n, a in enumerate(inside) if n > 1}


async def test_no_events_are_an_answer_too(tmp_path: Path) -> None:
    made = await world(tmp_path)
    found = await answer(made, EVERYTHING)
    assert (found.record.input_count, found.record.row_count) == (0, 0)
    assert found.record.inputs_hash == sha256().hexdigest()
    assert await rows(made, found) == []
    assert (await inputs_of(made.stream, found)).num_rows == 0


@pytest.mark.parametrize("deduplication", Deduplication)
async def test_repeats_and_conflicts_never_move_a_version(
    tmp_path: Path, deduplication: Deduplication
) -> None:
    on_read = deduplication is Deduplication.ON_READ
    made = await world(tmp_path, deduplication)
    event = Outcome.RECORDED if on_read else Outcome.ACCEPTED
    events = [arrival(f"k{n}", after(n), b'{"x": 1}') for n in range(5)]
    first = await made.land(as_rows(events, event), at=START)
    asked = definition(START, after(100), ("x", "sum(payload.x)"))
    before = await answer(made, asked, "before")
    made.clock.advance(60)
    conflicts = [arrival(f"k{n}", after(n + 50), b'{"x": 999}') for n in range(2)]
    for again, outcome in ((events, Outcome.DUPLICATE), (conflicts, Outcome.CONFLICT)):
        shown = Outcome.RECORDED if on_read else outcome
        await made.land(as_rows(again, shown, str(first.segment)), at=made.clock.now())
    made.clock.advance(60)
    again = await answer(made, asked, "after")
    assert again.as_of != before.as_of
    assert again.record == before.record
    made.clock.advance(60)
    await made.land(as_rows([arrival("one more", after(9), b'{"x": 0}')], event), at=made.clock.now())
    assert (await answer(made, asked, "then")).version != before.version


async def test_the_first_arrival_counts_although_its_conflict_is_in_the_window(tmp_path: Path) -> None:
    made = await world(tmp_path, Deduplication.ON_READ)
    await made.land(as_rows([arrival("k", after(-1000))], Outcome.RECORDED), at=START)
    made.clock.advance(1)
    await made.land(as_rows([arrival("k", after(1))], Outcome.RECORDED), at=made.clock.now())
    assert (await answer(made, definition(START, after(100)))).record.input_count == 0


async def test_as_known_at_an_ingest_time(tmp_path: Path) -> None:
    made = await world(tmp_path)
    for n in range(4):
        await made.land(as_rows([arrival(f"k{n}", after(-n))]), at=made.clock.now())
        made.clock.advance(10)
    counts = [
        (await answer(made, EVERYTHING, as_of=after(seconds))).record.input_count
        for seconds in (-1, 0, 9.999999, 10, 35)
    ]
    assert counts == [0, 1, 1, 2, 4]


async def test_as_known_by_the_sources_word(tmp_path: Path) -> None:
    """Up to and with the instant; what the source said nothing about is known since pik stored it."""
    made = await world(tmp_path)
    at = after(-5000)
    told = [
        arrival("before", received_time=Instant(at.micros - 1)),
        arrival("at", received_time=at),
        arrival("a nanosecond later", received_time=Instant(at.micros, "001")),
        arrival("after", received_time=Instant(at.micros + 1)),
        arrival("untold", received_time=None),
    ]
    await made.land(as_rows(told), at=START)

    async def count(as_of: Instant) -> int:
        found = await answer(made, EVERYTHING, as_of=as_of, known_by=KnownBy.RECEIVED_TIME)
        return found.record.input_count

    assert await count(at) == 2
    assert await count(Instant(at.micros + 1)) == 4
    assert await count(after(-1)) == 4
    assert await count(START) == 5


@pytest.mark.parametrize("known_by", KnownBy)
async def test_a_manifest_that_is_created_again_gives_the_same_version(
    tmp_path: Path, known_by: KnownBy
) -> None:
    made = await world(tmp_path)
    await made.land(as_rows([arrival("a")]), at=START)
    as_of = START if known_by is KnownBy.RECEIVED_TIME else None
    first = await answer(made, EVERYTHING, as_of=as_of, known_by=known_by)
    made.clock.advance(600)
    await made.land(as_rows([arrival("b", received_time=START)]), at=made.clock.now())
    assert await answer(made, EVERYTHING, as_of=as_of, known_by=known_by) == first
    # under another name it is asked for the first time
    assert (await answer(made, EVERYTHING, "other", as_of=as_of, known_by=known_by)).record.input_count == 2


@pytest.mark.parametrize("known_by", KnownBy)
async def test_what_is_not_known_yet_has_no_answer(tmp_path: Path, known_by: KnownBy) -> None:
    made = await world(tmp_path)
    with pytest.raises(NotReady):
        await answer(made, EVERYTHING, as_of=after(1), known_by=known_by)
    assert not aggregates(made)


async def test_a_version_may_be_the_answer_at_several_instants(tmp_path: Path) -> None:
    made = await world(tmp_path)
    await made.land(as_rows([arrival("a")]), at=START)
    made.clock.advance(100)
    found = [await answer(made, EVERYTHING, as_of=after(seconds)) for seconds in (50, 90, 10)]
    assert len({each.version for each in found}) == 1
    version = found[0].version
    assert (await read_answer(made.stream, version)).as_of == found[1].as_of  # the latest
    for each in found:
        assert await read_answer(made.stream, version, each.as_of.as_of) == each
    with pytest.raises(NoSuchObject):
        await read_answer(made.stream, version, START.exact_text)
