"""How two answers differ, event by event, and that these events explain the whole difference."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregate import flights
from aggregate.questions import EVERYTHING, answer, definition, rows
from pik.api.aggregate_version import KnownBy, TimeBucket
from pik.domain.arrivals import Arrival, Outcome
from pik.domain.errors import Incomparable, Incomplete
from pik.domain.instants import parse_instant
from pik.execution.aggregate.differences import Change, Difference, RowChange, difference
from pik.execution.aggregate.explanations import explain
from pik.execution.aggregate.repeats import Repeats, repeated
from pik.execution.stream import Deduplication
from reading.streams import START, World, after, arrival, world
from reading.streams import rows as as_rows


def changes(found: Difference) -> dict[str, str]:
    return dict(zip(*(found.events[name].to_pylist() for name in ("event_id", "change")), strict=True))


async def test_an_answer_does_not_differ_from_itself(tmp_path: Path) -> None:
    made = await world(tmp_path)
    await made.land(as_rows([arrival("a")]), at=START)
    one = await answer(made, EVERYTHING)
    found = await difference(made.stream, one, one)
    assert (found.rows, found.events.num_rows, set(found.counts.values())) == ((), 0, {0})


async def test_each_change_by_its_name(tmp_path: Path) -> None:
    """With OnRead a segment may land with an earlier stamp, and make another arrival the first."""
    made = await world(tmp_path, Deduplication.ON_READ)
    event = Outcome.RECORDED
    x = {key: arrival(key, after(1), b'{"x": 1}') for key in ("same", "late")}
    x["new"] = arrival("new", after(150), b'{"x": 10}')
    changed, gone = arrival("changed", after(2), b'{"x": 100}'), arrival("gone", after(3), b'{"x": 1000}')
    await made.land(as_rows([x["same"], changed, gone], event), at=START)
    made.clock.advance(100)
    asked = definition(START, after(1000), ("x", "sum(payload.x)"), ("n", "count(*)"))
    before = await answer(made, asked, "before")
    made.clock.advance(100)
    await made.land(as_rows([x["late"], x["new"]], event), at=made.clock.now())
    # landed long after its stamp: changed has another payload, gone another time
    overtaking = [arrival("changed", after(2), b'{"x": 200}'), arrival("gone", after(-3))]
    await made.land(as_rows(overtaking, event), at=after(-50))
    made.clock.advance(100)
    now = await answer(made, asked, "after")
    found = await difference(made.stream, before, now)
    assert changes(found) == {
        x["late"].event_id: "Late",
        x["new"].event_id: "New",
        changed.event_id: "Changed",
        gone.event_id: "Missing",
    }
    assert found.counts == dict.fromkeys(Change, 1)
    (row,) = found.rows
    assert (row.before, row.after) == ((Decimal(1101), 3), (Decimal(212), 4))
    told = await explain(made.stream, found)
    assert [(step.change, step.values) for step in told.steps] == [
        (Change.LATE, (Decimal(1102), 4)),
        (Change.NEW, (Decimal(1112), 5)),
        (Change.MISSING, (Decimal(112), 4)),
        (Change.CHANGED, (Decimal(212), 4)),
    ]
    assert (told.before, told.after, told.rows_left_over) == (row.before, row.after, 0)
    assert (told.inputs_before, told.inputs_after, told.inputs_in_both) == (3, 4, 1)
    assert (told.completeness, told.unexplained(0), told.unexplained(1)) == (Fraction(1, 4), 0, 0)
    # and back again
    back = await difference(made.stream, now, before)
    assert set(changes(back).values()) == {"Missing", "Changed", "Late"}
    assert (await explain(made.stream, back)).rows_left_over == 0


EVENTS = st.dictionaries(st.integers(0, 12), st.integers(-5, 5), max_size=9)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, EVENTS, st.booleans())
async def test_the_classes_are_the_symmetric_difference_and_explain_it(
    tmp_path_factory: pytest.TempPathFactory, one: dict[int, int], other: dict[int, int], backwards: bool
) -> None:
    """An event of `other` overtakes one of `one`; all of both are known in the end."""
    made = await world(tmp_path_factory.mktemp("segments"), Deduplication.ON_READ)

    def events(drawn: dict[int, int]) -> list[Arrival]:
        return [arrival(f"k{n}", after(n * 20), b'{"x": %d, "g": %d}' % (x, x % 2)) for n, x in drawn.items()]

    await made.land(as_rows(events(one), Outcome.RECORDED), at=START)
    made.clock.advance(100)
    asked = definition(
        START, after(200), ("n", "count(*)"), ("x", "avg(payload.x)"),
        bucket=TimeBucket.MINUTE, group_by=("payload.g",), where="payload.x >= 0",
    )  # fmt: skip
    before = await answer(made, asked, "before")
    made.clock.advance(100)
    await made.land(as_rows(events(other), Outcome.RECORDED), at=after(-1))
    now = await answer(made, asked, "after")
    as_of = before.as_of.instant
    if backwards:
        before, now = now, before
        as_of = before.as_of.instant
    inputs = [
        {a.event_id: a for a in events(drawn) if b'"x": -' not in a.data and a.event_time < after(200)}
        for drawn in (one, {**one, **other})
    ]
    first, last = reversed(inputs) if backwards else inputs
    expected = {}
    for event_id in first.keys() | last.keys():
        if event_id not in last:
            expected[event_id] = "Missing"
        elif event_id not in first:
            expected[event_id] = "Late" if last[event_id].event_time < as_of else "New"
        elif first[event_id].fingerprint != last[event_id].fingerprint:
            expected[event_id] = "Changed"
    found = await difference(made.stream, before, now)
    assert changes(found) == expected
    assert bool(found.rows) <= bool(expected)
    told = await explain(made.stream, found, ["payload.g", "event_id"])
    assert told.rows_left_over == 0
    assert (told.inputs_before, told.inputs_after) == (len(first), len(last))
    assert told.inputs_in_both == len(first.keys() & last.keys()) - list(expected.values()).count("Changed")
    counted = {change: sum(group.counts[change] for group in told.groups) for change in Change}
    # a changed event is in two groups where its group is what changed
    assert {**counted, Change.CHANGED: 0} == {**found.counts, Change.CHANGED: 0}
    assert [told.unexplained(measure) for measure in (0, 1)] in ([None, None], [0, 0], [None, 0], [0, None])


async def test_answers_to_different_questions_are_not_compared(tmp_path: Path) -> None:
    made = await world(tmp_path)
    one = await answer(made, definition(START, after(1)))
    other = await answer(made, definition(START, after(2), ("events", "count(*)"), where="true"))
    with pytest.raises(Incomparable, match="they differ in window, where"):
        await difference(made.stream, one, other)


async def test_what_raw_does_not_hold_any_more_is_not_explained(tmp_path: Path) -> None:
    made = await world(tmp_path)
    first = await made.land(as_rows([arrival("a")]), at=START)
    made.clock.advance(10)
    before = await answer(made, EVERYTHING, "before")
    await made.land(as_rows([arrival("b")]), at=made.clock.now())
    now = await answer(made, EVERYTHING, "after")
    found = await difference(made.stream, before, now)
    del made.bucket.objects[first.key]
    for file in tmp_path.rglob("*.parquet"):  # noqa: ASYNC240 - the cache's files
        file.unlink()
    assert (await difference(made.stream, before, now)).counts == found.counts  # from what is kept
    with pytest.raises(Incomplete):
        await explain(made.stream, found)


@pytest.mark.parametrize("deduplication", Deduplication)
async def test_repeats_between_two_answers(tmp_path: Path, deduplication: Deduplication) -> None:
    on_read = deduplication is Deduplication.ON_READ
    made = await world(tmp_path, deduplication)
    event = Outcome.RECORDED if on_read else Outcome.ACCEPTED
    events = [arrival(f"k{n}", after(n), b'{"x": 1}') for n in range(5)]
    first = await made.land(as_rows([*events, arrival("outside", after(-9))], event), at=START)

    async def again(arrivals: list[Arrival], outcome: Outcome) -> None:
        made.clock.advance(10)
        shown = outcome if not on_read else Outcome.RECORDED
        await made.land(as_rows(arrivals, shown, str(first.segment)), at=made.clock.now())

    asked = definition(START, after(100))
    await again(events[:1], Outcome.DUPLICATE)  # before both
    made.clock.advance(10)
    before = await answer(made, asked, "before")
    await again([*events[:3], arrival("outside", after(-9))], Outcome.DUPLICATE)
    await again(events[:2], Outcome.DUPLICATE)
    await again([arrival("k4", after(4), b'{"x": 2}')], Outcome.CONFLICT)
    made.clock.advance(10)
    now = await answer(made, asked, "after")
    await again(events, Outcome.DUPLICATE)  # after both
    found = await difference(made.stream, before, now)
    assert found.events.num_rows == 0
    assert (await explain(made.stream, found)).repeats == Repeats(duplicates=3, conflicts=1)
    assert await repeated(made.stream, before, now) == 3
    assert await repeated(made.stream, now, now) == 0


# the flights of 10 July 2013

MIDNIGHT = parse_instant("2013-07-11T04:00:00Z")  # in New York
JULY_10 = parse_instant("2013-07-10T04:00:00Z")


async def landed(world_: World, arrivals: list[Arrival]) -> None:
    for piece in flights.pieces(arrivals, 700):
        await world_.land(as_rows(piece, Outcome.RECORDED), at=world_.clock.now())
        world_.clock.advance(1)


async def test_the_dashboard_said_33_minutes_and_today_it_says_an_hour(tmp_path: Path) -> None:
    table = flights.table("2013-07-09", "2013-07-13")
    made = await world(tmp_path, Deduplication.ON_READ)
    await landed(made, flights.arrivals(table))
    asked = definition(
        JULY_10, MIDNIGHT, ("flights", "count(*)"), ("mean", "avg(payload.arr_delay)"),
        bucket=TimeBucket.DAY, timezone="America/New_York", where="payload.arr_delay IS NOT NULL",
    )  # fmt: skip
    said = await answer(made, asked, "midnight", as_of=MIDNIGHT, known_by=KnownBy.RECEIVED_TIME)
    made.clock.advance(60)
    says = await answer(made, asked, "finally", known_by=KnownBy.RECEIVED_TIME)

    day = table[(table["scheduled"] >= "2013-07-10T04:00Z") & (table["scheduled"] < "2013-07-11T04:00Z")]
    day = day[day["arr_delay"].notna()]
    known = day[day["landed"] <= "2013-07-11T04:00Z"]
    late = day[day["landed"] > "2013-07-11T04:00Z"]
    assert (len(known), len(day), len(late)) == (714, 846, 132)
    assert [(n, round(mean, 2)) for n, mean in await rows(made, said)] == [(714, Decimal("32.84"))]
    assert [(n, round(mean, 2)) for n, mean in await rows(made, says)] == [(846, Decimal("59.63"))]
    assert (await rows(made, said))[0][1] == round(Decimal(int(known["arr_delay"].sum())) / 714, 12)
    assert (await rows(made, says))[0][1] == round(Decimal(int(day["arr_delay"].sum())) / 846, 12)

    found = await difference(made.stream, said, says)
    assert found.counts == {Change.LATE: 132, Change.NEW: 0, Change.MISSING: 0, Change.CHANGED: 0}
    before, now = (await rows(made, said))[0], (await rows(made, says))[0]
    assert found.rows == (RowChange(JULY_10, (), before, now),)

    told = await explain(made.stream, found, ["payload.carrier"])
    assert (told.before, told.steps[0].values, told.after) == (before, now, now)
    assert (told.rows_left_over, told.unexplained(1)) == (0, 0)
    assert told.completeness == Fraction(714, 846)
    by_carrier = {group.group[0]: group for group in told.groups}
    counts = late.groupby("carrier").size()
    assert {
        carrier: group.counts[Change.LATE] for carrier, group in by_carrier.items() if group.late
    } == dict(counts)
    for carrier, delays in late.groupby("carrier")["arr_delay"]:
        mean = round(Decimal(int(delays.sum())) / len(delays), 12)
        assert by_carrier[carrier].late == (len(delays), mean)
    assert [group.counts[Change.LATE] for group in told.groups] == sorted(counts, reverse=True) + [0] * (
        len(told.groups) - len(counts)
    )

    # a retry storm and changed payloads under old keys move nothing
    storm = flights.arrivals(table[:1500])
    forged = flights.arrivals(day.head(50).assign(arr_delay=0))
    await landed(made, storm + forged)
    again = await answer(made, asked, "again", known_by=KnownBy.RECEIVED_TIME)
    assert again.record == says.record
