"""Gaps against sets of slots counted out one by one."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pik.api.capture_stream import CadenceKey
from pik.api.replay_job import TimeField
from pik.domain.instants import Instant, parse_instant
from pik.domain.windows import Window
from pik.execution.inspect.gaps import GapOptions, GapReport, PayloadPath, Silence, gaps
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.stream import Deduplication
from reading.histories import captured, frame, history, recorded
from reading.streams import HOUR, SECOND, START, after, arrival

TEN_MINUTES = 600 * SECOND
WINDOW = Window(Instant(START.micros + HOUR + 7), Instant(START.micros + 4 * HOUR - 7))
ALL = 100_000

Runs = list[tuple[str, int, int]]  # key, first and last missing slot


def runs_of(slots: dict[str, set[int]], first: int, last: int) -> Runs:
    """Of the slots from first to last, those that a key lacks between its own first and last."""
    found = []
    for key, present in slots.items():
        missing = [s for s in range(min(present), max(present)) if s not in present and first <= s <= last]
        for _, run in groupby(enumerate(missing), lambda pair: pair[1] - pair[0]):
            numbers = [number for _, number in run]
            found.append((key, numbers[0], numbers[-1]))
    return found


def incidents_of(runs: Runs) -> list[tuple[int, int, set[str], int]]:
    """Groups of runs that overlap, joined one by one; first, last, keys, runs."""
    groups: list[list[tuple[str, int, int]]] = []
    for run in runs:
        touching = [g for g in groups if any(r[1] <= run[2] and run[1] <= r[2] for r in g)]
        groups = [g for g in groups if g not in touching] + [[run, *(r for g in touching for r in g)]]
    found = [(min(r[1] for r in g), max(r[2] for r in g), {r[0] for r in g}, len(g)) for g in groups]
    return sorted((incident for incident in found if len(incident[2]) > 1), key=lambda found: found[0])


def check(report: GapReport, slots: dict[str, set[int]], every: int, window: Window | None) -> None:
    first = -(10**15) if window is None else -(-window.start.micros // every)
    last = 10**15 if window is None else -(-window.end.micros // every) - 1
    runs = runs_of(slots, first, last)
    expected = {
        key: number
        for key, present in slots.items()
        if (number := min(max(present), last) - max(min(present), first) + 1) > 0
    }
    assert {k.key: k.expected for k in report.keys} == expected
    assert {k.key: k.missing for k in report.keys} == {
        key: sum(r[2] - r[1] + 1 for r in runs if r[0] == key) for key in expected
    }
    assert report.missing == sum(r[2] - r[1] + 1 for r in runs)
    assert (report.expected, report.present) == (
        sum(expected.values()),
        sum(expected.values()) - report.missing,
    )
    found = {(r.key, r.first.micros // every, r.last.micros // every, r.missing) for r in report.runs}
    assert found == {(key, one, two, two - one + 1) for key, one, two in runs}
    assert report.runs_found == len(runs)
    incidents = incidents_of(runs)
    assert [
        (i.number, i.first.micros // every, i.last.micros // every, set(i.keys), i.runs)
        for i in sorted(report.incidents, key=lambda i: i.number)
    ] == [(number, *incident) for number, incident in enumerate(incidents, 1)]
    assert report.incidents_found == len(incidents)
    for run in report.runs:
        around = [i.number for i in report.incidents if i.first <= run.first <= i.last]
        assert run.incident == (around[0] if around else None)
    end = max((max(present) for present in slots.values()), default=0)
    assert {s.key: s.missing for s in report.silences} == {
        key: silent
        for key, present in slots.items()
        if (silent := min(end, last) - max(*present, first - 1)) > 0
    }
    assert report.silent_keys == len(report.silences)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.parametrize("by", CadenceKey)
@pytest.mark.parametrize("deduplication", Deduplication)
async def test_gaps_are_the_slots_that_no_arrival_fills(
    tmp_path: Path, seed: int, window: Window | None, by: CadenceKey, deduplication: Deduplication
) -> None:
    told = history(seed)
    made, snapshot = await captured(tmp_path, told, deduplication)
    options = GapOptions(timedelta(minutes=10), by, limit=ALL)
    report = await gaps(made.stream, snapshot, window, options)
    everything = frame(told)
    everything["slot"] = everything.event_us // TEN_MINUTES
    columns = {
        CadenceKey.ENTITY: "entity_id",
        CadenceKey.SOURCE: "source",
        CadenceKey.EVENT_TYPE: "event_type",
    }
    by_key = everything.groupby(columns[by]) if by in columns else [("", everything)]
    check(report, {key: set(group.slot) for key, group in by_key}, TEN_MINUTES, window)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from("abcd"), st.sets(st.integers(-30, 30), min_size=1), min_size=1))
async def test_slots_before_the_epoch_are_like_any_other(
    tmp_path_factory: pytest.TempPathFactory, slots: dict[str, set[int]]
) -> None:
    arrivals = [
        arrival(f"{key}{slot}", Instant(slot * SECOND + 999_999), entity_id=key)
        for key, present in slots.items()
        for slot in present
    ]
    made, snapshot = await recorded(tmp_path_factory.mktemp("stream"), [(START, arrivals)])
    report = await gaps(made.stream, snapshot, None, GapOptions(timedelta(seconds=1), limit=ALL))
    check(report, slots, SECOND, None)


async def test_an_event_at_the_end_of_time_costs_nothing(tmp_path: Path) -> None:
    texts = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]
    told = [(START, [arrival(text, parse_instant(text)) for text in texts])]
    made, snapshot = await recorded(tmp_path, told)
    report = await gaps(made.stream, snapshot, None, GapOptions(timedelta(seconds=1)))
    assert report.missing == 315_537_897_599 - 1
    assert report.stream_silence == 0


async def test_a_key_in_the_payload(tmp_path: Path) -> None:
    told = [
        (START, [arrival(f"k{n}", after(3600 * n), b'{"a/b": {"~c\'": "here"}}') for n in (0, 1, 3)]),
        (START, [arrival("without", START, b'{"a/b": {}}')]),
    ]
    made, snapshot = await recorded(tmp_path, told)
    options = GapOptions(timedelta(hours=1), PayloadPath("a/b.~c'"))
    report = await gaps(made.stream, snapshot, None, options)
    assert [(k.key, k.expected, k.missing) for k in report.keys] == [("here", 4, 1)]
    assert (report.arrivals, report.unkeyed) == (4, 1)


async def test_silence_is_told_from_gaps(tmp_path: Path) -> None:
    slots = {"a": [0, 1, 3, 9], "b": [0, 1, 2]}
    arrivals = [
        arrival(f"{key}{slot}", after(3600 * slot), entity_id=key) for key in slots for slot in slots[key]
    ]
    made, _ = await recorded(tmp_path, [(START, arrivals)])
    made.clock.advance(12.5 * 3600)
    snapshot = await take_snapshot(made.stream, now=made.clock.now())
    hourly = GapOptions(timedelta(hours=1))
    report = await gaps(made.stream, snapshot, None, hourly)
    assert report.silences == (Silence("b", after(2 * 3600), after(9 * 3600), 7),)
    assert {k.key: k.missing for k in report.keys} == {"a": 6, "b": 0}
    # of slots 10, 11 and the half of 12
    assert (report.stream_last, report.stream_silence) == (after(9 * 3600), 2)
    until_eleven = Window(after(4 * 3600), after(11 * 3600))
    report = await gaps(made.stream, snapshot, until_eleven, hourly)
    assert report.silences == (Silence("b", after(2 * 3600), after(9 * 3600), 6),)
    assert [(k.key, k.expected, k.missing) for k in report.keys] == [("a", 6, 5)]
    assert report.stream_silence == 1
    later = Window(after(20 * 3600), after(30 * 3600))
    assert (await gaps(made.stream, snapshot, later, hourly)).stream_silence == 0


async def test_a_window_of_ingest_time_asks_about_what_came_in_it(tmp_path: Path) -> None:
    told = [
        (START, [arrival(f"old{n}", after(3600 * n)) for n in range(5)]),
        (after(60), [arrival(f"new{n}", after(3600 * n)) for n in (1, 4)]),
    ]
    made, snapshot = await recorded(tmp_path, told)
    options = GapOptions(timedelta(hours=1), field=TimeField.INGEST_TIME)
    report = await gaps(made.stream, snapshot, Window(after(1), after(61)), options)
    assert (report.arrivals, report.expected, report.missing) == (2, 4, 2)


def test_a_cadence_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="longer than nothing"):
        GapOptions(timedelta())
