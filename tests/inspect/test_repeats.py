"""Duplicates and conflicts: the same whether they were told apart at ingest or now, and as pandas counts."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import msgspec
import pandas
import pytest

from pik.api.replay_job import TimeField
from pik.domain.arrivals import Arrival, Outcome
from pik.domain.differences import Difference
from pik.domain.identity import fingerprint
from pik.domain.instants import Instant
from pik.domain.windows import Window
from pik.execution.inspect.conflicts import ConflictOptions, conflicts
from pik.execution.inspect.duplicates import DuplicateOptions, Storm, duplicates
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.stream import Deduplication
from reading.histories import captured, counts, frame, history, recorded
from reading.streams import HOUR, START, after, arrival, rows, world

WINDOW = Window(Instant(START.micros + HOUR), Instant(START.micros + 4 * HOUR))
ALL = 10_000


def windowed(told: pandas.DataFrame, window: Window | None, field: TimeField) -> pandas.DataFrame:
    if window is None:
        return told
    at = told.event_us if field is TimeField.EVENT_TIME else told.ingest_us
    return told[(at >= window.start.micros) & (at < window.end.micros)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.parametrize("deduplication", Deduplication)
async def test_repeats_are_those_that_pandas_counts(
    tmp_path: Path, seed: int, window: Window | None, deduplication: Deduplication
) -> None:
    told = history(seed)
    made, snapshot = await captured(tmp_path, told, deduplication)
    everything = windowed(frame(told), window, TimeField.EVENT_TIME)
    repeats = everything[everything.repeat == "duplicate"]
    others = everything[everything.repeat == "conflict"]
    assert len(repeats) > 9
    assert len(others) > 9

    found = await duplicates(made.stream, snapshot, window, DuplicateOptions(limit=ALL))
    assert found.arrivals == (~everything.replayed).sum()
    assert found.duplicates == len(repeats)
    assert found.events_repeated == repeats.event_id.nunique()
    assert {s.source: s.arrivals for s in found.sources} == counts(everything[~everything.replayed].source)
    assert {s.source: s.duplicates for s in found.sources if s.duplicates} == counts(repeats.source)
    assert {e.event_id: e.duplicates for e in found.events} == counts(repeats.event_id)

    contradicted = await conflicts(made.stream, snapshot, window, ConflictOptions(limit=ALL))
    assert contradicted.conflicts_found == len(others)
    assert contradicted.events_in_conflict == others.event_id.nunique()
    assert contradicted.uncompared == 0
    assert counts([c.event_id for c in contradicted.conflicts]) == counts(others.event_id)
    assert {s.source: s.conflicts for s in contradicted.sources} == counts(others.source)
    assert all(c.differences for c in contradicted.conflicts)
    assert {p.path: p.conflicts for p in contradicted.paths} == counts(
        [d.path for c in contradicted.conflicts for d in c.differences]
    )


@pytest.mark.parametrize("seed", range(2))
async def test_a_window_of_ingest_time_asks_when_they_came(tmp_path: Path, seed: int) -> None:
    told = history(seed)
    made, snapshot = await recorded(tmp_path, told)
    everything = windowed(frame(told), WINDOW, TimeField.INGEST_TIME)
    options = DuplicateOptions(field=TimeField.INGEST_TIME)
    found = await duplicates(made.stream, snapshot, WINDOW, options)
    assert found.duplicates == (everything.repeat == "duplicate").sum()
    other = await conflicts(made.stream, snapshot, WINDOW, ConflictOptions(TimeField.INGEST_TIME))
    assert other.conflicts_found == (everything.repeat == "conflict").sum()


async def test_a_retry_storm_is_told_from_the_odd_retry(tmp_path: Path) -> None:
    sent = [arrival(f"k{n}", source="noisy") for n in range(20)]
    quiet = arrival("q", source="quiet")
    told = [
        (START, [*sent, quiet]),
        (after(100), sent[:12]),
        (after(159.999999), sent[:3]),  # within a minute
        (after(219.999999), sent[5:10]),  # a minute after: there was calm before it
        (after(250), [quiet] * 15),
        (after(300), sent[:1]),
    ]
    made, snapshot = await recorded(tmp_path, told)
    report = await duplicates(made.stream, snapshot, None, DuplicateOptions(storm=6))
    assert report.duplicates == 36
    assert report.storms == (
        Storm("noisy", after(100), after(159.999999), 15, 12),
        Storm("quiet", after(250), after(250), 15, 1),
    )
    assert report.storms_found == 2
    longer = DuplicateOptions(storm=6, calm=timedelta(seconds=61))
    assert [s.duplicates for s in (await duplicates(made.stream, snapshot, None, longer)).storms] == [20, 15]


async def test_a_conflict_shows_both_and_their_difference(tmp_path: Path) -> None:
    told = [
        (START, [arrival("k", START, b'{"temp": 39.0, "wind": {"dir": 270, "speed": 10.0}}')]),
        (
            after(60),
            [
                arrival("k", START, b'{"wind": {"speed": 10.0, "dir": 270}, "temp": 39.0}'),  # respelled
                arrival("k", after(3600), b'{"temp": 39.0, "wind": {"dir": 290, "speed": 10.00}}'),
            ],
        ),
    ]
    made, snapshot = await recorded(tmp_path, told)
    report = await conflicts(made.stream, snapshot, None, ConflictOptions())
    [conflict] = report.conflicts
    assert conflict.differences == (
        Difference("event_time", START.exact_text, after(3600).exact_text),
        Difference("payload.wind.dir", "270", "290"),
        Difference("payload.wind.speed", "10.0", "10.00"),
    )
    first, second = snapshot.segments
    assert (conflict.event_segment, conflict.event_row) == (str(first.segment), 0)
    assert (conflict.segment, conflict.row) == (str(second.segment), 1)
    assert (conflict.event_ingest_time, conflict.ingest_time) == (START, after(60))
    assert (conflict.idempotency_key, conflict.event_time) == ("k", after(3600))
    # the event lies outside this window, the conflicting arrival inside
    later = Window(after(3600), after(3601))
    assert (await conflicts(made.stream, snapshot, later, ConflictOptions())).conflicts == (conflict,)
    assert report.document()["conflicts"][0]["differences"][0] == {
        "path": "event_time",
        "first": START.exact_text,
        "other": after(3600).exact_text,
    }


async def test_a_repeat_belongs_to_the_event_that_it_was_answered_with(tmp_path: Path) -> None:
    """An id whose event expired is free again: a reader may still see both events for a while."""
    made = await world(tmp_path)
    old = await made.land(rows([arrival("k", START, b'{"v": 1}')]), at=START)
    new = await made.land(rows([arrival("k", START, b'{"v": 2}')]), at=after(1))
    for at, winner in [(2, old), (3, new)]:
        repeat = rows([arrival("k", START, b'{"v": 3}')], Outcome.CONFLICT, str(winner.segment))
        await made.land(repeat, at=after(at))
    snapshot = await take_snapshot(made.stream, now=after(9))
    report = await conflicts(made.stream, snapshot, None, ConflictOptions())
    assert [c.event_segment for c in report.conflicts] == [str(old.segment), str(new.segment)]
    # what was known before the event's segment was known has nothing to be compared with
    without = msgspec.structs.replace(snapshot, segments=snapshot.segments[2:])
    report = await conflicts(made.stream, without, None, ConflictOptions())
    assert (report.conflicts_found, report.uncompared) == (2, 2)
    assert [c.event_segment for c in report.conflicts] == [None, None]


async def test_what_the_fingerprint_leaves_out_is_no_difference(tmp_path: Path) -> None:
    """A retry with a fresh send time is a duplicate; a conflict's send time is not what it is about."""
    exclude = ("meta.sent",)

    def sent(payload: bytes) -> Arrival:
        each = arrival("k", START, payload)
        content = fingerprint(each.event_type, each.entity_id, each.event_time, payload, exclude)
        return msgspec.structs.replace(each, fingerprint=content)

    told = [
        (START, [sent(b'{"v": 1, "meta": {"sent": 1}}')]),
        (after(1), [sent(b'{"v": 1, "meta": {"sent": 2}}'), sent(b'{"v": 2, "meta": {"sent": 3}}')]),
    ]
    made, snapshot = await recorded(tmp_path, told)
    stream = dataclasses.replace(made.stream, fingerprint_exclude=exclude)
    assert (await duplicates(stream, snapshot, None, DuplicateOptions())).duplicates == 1
    report = await conflicts(stream, snapshot, None, ConflictOptions())
    assert [c.differences for c in report.conflicts] == [(Difference("payload.v", "1", "2"),)]
