"""Duplicates and conflicts: the same whether they were told apart at ingest or now, and as pandas counts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas
import pytest

from pik.api.replay_job import TimeField
from pik.domain.differences import Difference
from pik.domain.instants import Instant
from pik.domain.windows import Window
from pik.execution.inspect.conflicts import ConflictOptions, conflicts
from pik.execution.inspect.duplicates import DuplicateOptions, Storm, duplicates
from pik.execution.stream import Deduplication
from reading.histories import captured, counts, frame, history, recorded
from reading.streams import HOUR, START, after, arrival

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
