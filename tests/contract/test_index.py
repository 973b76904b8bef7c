"""What the work may expect of any index: exactly the conditions of the write protocol."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.values import NOON, Entries, entry, gathered, reservation, segment
from pik.aws.index_items import event_item, reservation_of
from pik.domain.errors import Fenced, NoSuchTable
from pik.domain.instants import Instant, format_micros, parse_instant
from pik.domain.layout import segment_id
from pik.ports.index import GenerationState, Index, Reservation

HOUR = 3_600_000_000


async def make_ready(index: Index, number: int = 1, nonce: str = "n") -> None:
    await index.fence(number, nonce)
    await index.set_ready(number, nonce)


# The generation item


async def test_a_new_index_has_no_generation(index: Index) -> None:
    assert await index.generation() is None


async def test_fence_then_ready(index: Index) -> None:
    await index.fence(1, "a")
    assert await index.generation() == GenerationState(1, "a", ready=False)
    await index.set_ready(1, "a")
    assert await index.generation() == GenerationState(1, "a", ready=True)
    await index.set_ready(1, "a")  # a lost answer, asked again


async def test_a_fence_gives_way_to_a_newer_one_and_to_a_rival_that_still_builds(index: Index) -> None:
    await index.fence(1, "a")
    await index.fence(1, "b")
    assert await index.generation() == GenerationState(1, "b", ready=False)
    with pytest.raises(Fenced):
        await index.set_ready(1, "a")
    await index.fence(3, "c")
    assert await index.generation() == GenerationState(3, "c", ready=False)
    with pytest.raises(Fenced):
        await index.set_ready(1, "b")


async def test_no_fence_at_or_below_what_is_ready(index: Index) -> None:
    await make_ready(index, 2, "a")
    with pytest.raises(Fenced):
        await index.fence(2, "a")
    with pytest.raises(Fenced):
        await index.fence(1, "b")
    await index.fence(3, "b")
    with pytest.raises(Fenced):
        await index.fence(2, "c")
    with pytest.raises(Fenced):
        await index.set_ready(2, "a")
    assert await index.generation() == GenerationState(3, "b", ready=False)


async def test_nothing_becomes_ready_without_a_fence(index: Index) -> None:
    with pytest.raises(Fenced):
        await index.set_ready(1, "a")
    assert await index.generation() is None


# Reservations


async def test_reserves_what_is_absent_and_shows_what_is_there(index: Index) -> None:
    first, second = segment(1), segment(2)
    mine = [reservation(f"e{n}", first, row=n, time=f"2013-07-10T04:00:{n % 60:02d}Z") for n in range(70)]
    assert await index.reserve(mine) == [None] * 70
    theirs = [reservation(f"e{n}", second, row=n) for n in range(35, 140)]
    assert await index.reserve(theirs) == [*mine[35:], *[None] * 70]
    assert await index.reserve(mine) == mine  # a lost answer: ours, as we wrote it
    assert await index.reserve([]) == []


async def test_what_is_reserved_comes_back_exactly(index: Index) -> None:
    odd = Reservation(
        "f" * 64,
        "0" * 64,
        segment_id(NOON, "f" * 20, 12_345_678),
        2**31 - 1,
        99_999_999,
        "é#\"'\\ \n{}?, ☃",
        parse_instant("0001-01-01T00:00:00.00000000000000000009Z"),
    )
    assert await index.reserve([odd]) == [None]
    assert await index.reserve([reservation("x", segment(1)), odd]) == [None, odd]
    assert [found async for found in index.by_entity(odd.entity_id, None, None)] == [odd]


async def test_each_event_is_reserved_by_one_of_many(index: Index) -> None:
    writers = [segment(n) for n in range(6)]
    answers = await gathered(
        index.reserve([reservation(f"e{n}", writer, row=n) for n in range(40)]) for writer in writers
    )
    won = [0] * 40
    for writer, answer in zip(writers, answers, strict=True):
        assert isinstance(answer, list)
        for n, found in enumerate(answer):
            won[n] += found is None
            assert found is None or found.segment != writer
    assert won == [1] * 40
    after = await index.reserve([reservation(f"e{n}", segment(9)) for n in range(40)])
    for answer in answers:
        assert isinstance(answer, list)
        assert all(found in (None, there) for found, there in zip(answer, after, strict=True))


async def test_takes_over_only_what_was_seen(index: Index) -> None:
    lost, mine, other = segment(1), segment(2), segment(3)
    dead = reservation("e", lost, row=4)
    await index.reserve([dead])
    ours = reservation("e", mine, row=1, time="2013-07-10T05:00:00Z", entity="N2")
    assert await index.take_over(ours, dead) is None
    assert await index.reserve([dead]) == [ours]
    assert await index.take_over(ours, dead) == ours  # a lost answer, asked again
    assert await index.take_over(reservation("e", other), dead) == ours
    assert [found async for found in index.by_entity(dead.entity_id, None, None)] == []
    assert [found async for found in index.by_entity("N2", None, None)] == [ours]


async def test_a_take_over_sees_segment_and_generation(index: Index) -> None:
    there = reservation("e", segment(1, generation=1), generation=2)  # rebuilt since
    await index.put_winners([there])
    mine = reservation("e", segment(2, generation=2))
    assert await index.take_over(mine, reservation("e", segment(1, generation=1))) == there
    assert await index.take_over(mine, reservation("e", segment(3), generation=2)) == there
    assert await index.take_over(mine, there) is None


async def test_a_take_over_of_what_has_expired_puts(index: Index) -> None:
    mine = reservation("e", segment(2))
    assert await index.take_over(mine, reservation("e", segment(1))) is None
    assert await index.reserve([mine]) == [mine]


async def test_one_of_many_takes_over(index: Index) -> None:
    dead = reservation("e", segment(1))
    await index.reserve([dead])
    answers = await gathered(index.take_over(reservation("e", segment(n)), dead) for n in range(2, 14))
    taken = [n for n, answer in enumerate(answers, start=2) if answer is None]
    assert len(taken) == 1
    (now_there,) = await index.reserve([dead])
    assert now_there == reservation("e", segment(taken[0]))
    assert all(answer in (None, now_there) for answer in answers)


async def test_winners_replace_what_is_older_and_nothing_else(index: Index) -> None:
    old = [reservation(f"e{n}", segment(1, generation=1), row=n) for n in range(130)]
    await index.reserve(old[:120])
    newer = reservation("e7", segment(5, generation=3))
    await index.take_over(newer, old[7])
    winners = [reservation(f"e{n}", segment(2, generation=1), row=n, generation=2) for n in range(130)]
    await index.put_winners(winners)
    there = await index.reserve(old)
    assert there == [*winners[:7], newer, *winners[8:]]
    again = [reservation(f"e{n}", segment(4, generation=1), row=n, generation=2) for n in range(130)]
    await index.put_winners(again)  # the same generation is not older
    assert await index.reserve(old) == there
    await index.put_winners([])


# The manifest


async def test_the_manifest_row_needs_its_generation_to_be_ready(index: Index) -> None:
    row = entry(segment(1))
    with pytest.raises(Fenced):
        await index.put_segment(row, 1)
    await index.fence(1, "a")
    with pytest.raises(Fenced):
        await index.put_segment(row, 1)
    await index.set_ready(1, "a")
    with pytest.raises(Fenced):
        await index.put_segment(row, 2)
    await index.put_segment(row, 1)
    await index.put_segment(row, 1)  # a lost answer, asked again
    await index.fence(2, "b")
    with pytest.raises(Fenced):
        await index.put_segment(entry(segment(2)), 1)
    assert [found async for found in index.segments()] == [row]


async def test_a_rebuild_writes_rows_only_while_it_builds(index: Index) -> None:
    row = entry(segment(1))
    await index.fence(2, "a")
    await index.rebuild_segment(row, 2, "a")
    await index.rebuild_segment(row, 2, "a")
    for generation, nonce in ((2, "b"), (1, "a")):
        with pytest.raises(Fenced):
            await index.rebuild_segment(entry(segment(2)), generation, nonce)
    await index.set_ready(2, "a")
    with pytest.raises(Fenced):
        await index.rebuild_segment(entry(segment(2)), 2, "a")
    assert [found async for found in index.segments()] == [row]


async def test_writers_at_once_all_get_their_rows_in(index: Index) -> None:
    """DynamoDB refuses transactions that meet on the generation item; they are tried again."""
    await make_ready(index)
    rows = [entry(segment(n)) for n in range(24)]
    assert await gathered(index.put_segment(row, 1) for row in rows) == [None] * 24
    assert [found async for found in index.segments()] == rows


async def test_lists_more_than_a_page_in_order(index: Index) -> None:
    """Rows of some 3 KB: more than the 1 MB that one query answers."""
    await make_ready(index)
    stamps = [Instant(NOON.micros + n * HOUR // 50) for n in range(600)]
    wide = tuple(f"source-{n:02d}-" + "x" * 60 for n in range(32))
    rows = [entry(segment(n, at=at), sources=wide) for n, at in enumerate(stamps)]
    for start in range(0, len(rows), 50):
        await gathered(index.put_segment(row, 1) for row in rows[start : start + 50])
    assert [found async for found in index.segments()] == rows
    middle = Instant(NOON.micros + 3 * HOUR + 1_800_000_000)
    assert [found async for found in index.segments(middle)] == rows[150:]
    assert [found async for found in index.segments(Instant(NOON.micros + 100 * HOUR))] == []
    assert [found async for found in index.segments(Instant(0))] == rows


# By entity


async def test_an_entitys_events_in_order_of_exact_time(index: Index) -> None:
    times = [
        "2013-07-10T04:00:00.000001Z",
        "2013-07-10T04:00:00Z",
        "2013-07-10T04:00:00.0000000001Z",
        "2013-07-10T04:00:00.00000009Z",
        "0999-12-31T23:59:59Z",
        "2013-07-10T06:00:00+02:00",  # the second one again, by another event
        "9999-12-31T23:59:59.999999999Z",
    ]
    events = [reservation(f"e{n}", segment(1), row=n, time=time) for n, time in enumerate(times)]
    await index.reserve([*events, reservation("else", segment(1), entity="N10156#")])
    ordered = sorted(events, key=lambda event: (event.event_time, event.event_id))
    assert [found async for found in index.by_entity("N10156", None, None)] == ordered
    assert [found async for found in index.by_entity("N1015", None, None)] == []


async def test_half_open_windows(index: Index) -> None:
    digits = ["", "0000001", "00000010", "0000009", "000001", "0000010000001", "1", "999999", "9999999"]
    events = [
        reservation(f"e{n}", segment(1), row=n, time=f"2013-07-10T04:00:00{'.' + d if d else ''}Z")
        for n, d in enumerate(digits)
    ]
    await index.reserve(events)
    ends = [None, *(event.event_time for event in events), NOON, parse_instant("0001-01-01T00:00:00Z")]
    for start in ends:
        for end in ends:
            expected = [
                event
                for event in sorted(events, key=lambda event: (event.event_time, event.event_id))
                if (start is None or start <= event.event_time) and (end is None or event.event_time < end)
            ]
            assert [found async for found in index.by_entity("N10156", start, end)] == expected


async def test_an_entity_with_more_than_a_page(index: Index) -> None:
    events = [
        reservation(f"e{n}", segment(1), row=n, time=format_micros(n * 1_000), entity="N" * 1_000)
        for n in range(1_200)
    ]
    await index.reserve(events)
    assert [found async for found in index.by_entity("N" * 1_000, None, None)] == events
    assert sorted([found async for found in index.entries()], key=lambda event: event.row) == events


async def test_entries_are_those_of_events_and_of_nothing_else(index: Index) -> None:
    assert [found async for found in index.entries()] == []
    events = [reservation(f"e{n}", segment(n), entity=f"N{n % 3}", generation=n) for n in range(40)]
    await make_ready(index)
    await index.put_winners(events)
    await index.put_segment(entry(segment(1)), 1)
    await index.acquire("l", "a", NOON, 30)
    await index.put_mark("r", 0, 1, "")
    found = [found async for found in index.entries()]
    assert sorted(found, key=lambda event: event.generation) == events


# Leases


async def test_a_lease_has_one_holder_until_it_ends(index: Index) -> None:
    assert await index.acquire("shard/0", "a", NOON, 30)
    assert not await index.acquire("shard/0", "b", NOON, 30)
    assert await index.acquire("shard/1", "b", NOON, 30)
    later = Instant(NOON.micros + 20_000_000)
    assert await index.acquire("shard/0", "a", later, 30)  # renewed
    assert not await index.acquire("shard/0", "b", Instant(NOON.micros + 49_999_999), 30)
    assert await index.acquire("shard/0", "b", Instant(NOON.micros + 50_000_000), 30)
    assert not await index.acquire("shard/0", "a", Instant(NOON.micros + 50_000_000), 30)


async def test_a_lease_is_given_back_by_its_holder_only(index: Index) -> None:
    await index.acquire("l", "a", NOON, 30)
    await index.release("l", "b")
    assert not await index.acquire("l", "b", NOON, 30)
    await index.release("l", "a")
    await index.release("l", "a")
    assert await index.acquire("l", "b", NOON, 30)


async def test_one_of_many_gets_the_lease(index: Index) -> None:
    answers = await gathered(index.acquire("l", f"h{n}", NOON, 30) for n in range(12))
    assert sorted(map(bool, answers)) == [False] * 11 + [True]


# The table


# Marks


async def test_marks_are_the_newest_of_each_part(index: Index) -> None:
    assert await index.marks("r") == {}
    await index.put_mark("r", 0, 1, "ü{}")
    await index.put_mark("r", 999, 7, "far")
    await index.put_mark("r", 0, 3, "third")
    await index.put_mark("r", 0, 2, "late")
    await index.put_mark("r", 0, 3, "again")
    await index.put_mark("s", 0, 9, "another run's")
    assert await index.marks("r") == {0: "third", 999: "far"}


async def test_marks_are_dropped_by_run(index: Index) -> None:
    for part in range(130):  # more than one request takes
        await index.put_mark("r", part, 1, "x" * 100)
    await index.put_mark("s", 0, 1, "stays")
    assert len(await index.marks("r")) == 130
    await index.drop_marks("r")
    await index.drop_marks("r")
    assert await index.marks("r") == {}
    assert await index.marks("s") == {0: "stays"}


async def test_marks_of_more_than_a_page(index: Index) -> None:
    text = "x" * 300_000
    await gathered(index.put_mark("r", part, 1, text) for part in range(5))
    assert await index.marks("r") == dict.fromkeys(range(5), text)


async def test_a_table_that_is_gone_is_not_an_empty_one(entries: Entries) -> None:
    index, one, row = entries.index, reservation("e", segment(1)), entry(segment(1))
    await make_ready(index)
    await entries.drop()
    for call in (
        index.generation(),
        index.fence(2, "n"),
        index.set_ready(1, "n"),
        index.reserve([one]),
        index.take_over(one, one),
        index.put_winners([one]),
        index.put_segment(row, 1),
        index.rebuild_segment(row, 1, "n"),
        index.acquire("l", "a", NOON, 30),
        index.release("l", "a"),
        index.put_mark("r", 0, 1, ""),
        index.marks("r"),
        index.drop_marks("r"),
    ):
        with pytest.raises(NoSuchTable):
            await call
    with pytest.raises(NoSuchTable):
        async for _ in index.segments():
            pass
    with pytest.raises(NoSuchTable):
        async for _ in index.by_entity("e", None, None):
            pass
    with pytest.raises(NoSuchTable):
        async for _ in index.entries():
            pass


# The items' own law


@given(
    st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999),
    st.from_regex(r"([0-9]{0,12}[1-9])?", fullmatch=True),
    st.text(st.characters(codec="utf-8"), min_size=1),
    st.integers(0, 99_999_999),
    st.integers(0, 2**31 - 1),
)
def test_an_item_carries_its_reservation(
    micros: int, rest: str, entity: str, generation: int, row: int
) -> None:
    given_one = Reservation(
        "a" * 64, "b" * 64, segment(1, generation=7), row, generation, entity, Instant(micros, rest)
    )
    assert reservation_of(event_item(given_one)) == given_one
