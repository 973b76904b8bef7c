"""Lateness against pandas over the same arrivals, to the last digit that a producer gave."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy
import pytest

from pik.api.aggregate_version import KnownBy
from pik.api.replay_job import TimeField
from pik.domain.arrivals import Outcome
from pik.domain.instants import Instant
from pik.domain.windows import Window
from pik.execution.inspect.late import LateOptions, late
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.stream import Deduplication
from reading.histories import events, frame, history, recorded
from reading.streams import HOUR, START, arrival, rows, world

WINDOW = Window(Instant(START.micros + HOUR), Instant(START.micros + 4 * HOUR))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.parametrize("field", TimeField)
@pytest.mark.parametrize("known_by", KnownBy)
async def test_late_events_are_those_that_pandas_counts(
    tmp_path: Path, seed: int, window: Window | None, field: TimeField, known_by: KnownBy
) -> None:
    told = history(seed)
    made, snapshot = await recorded(tmp_path, told)
    limit = timedelta(minutes=40)
    report = await late(
        made.stream, snapshot, window, LateOptions(limit, known_by=known_by, field=field, limit=10_000)
    )
    news = events(frame(told)).copy()
    if window is not None:
        at = news.event_us if field is TimeField.EVENT_TIME else news.ingest_us
        news = news[(at >= window.start.micros) & (at < window.end.micros)]
    known = news.known_ns if known_by is KnownBy.RECEIVED_TIME else news.ingest_us * 1000
    news["late"] = known - news.event_ns > limit // timedelta(microseconds=1) * 1000
    news["lag"] = known // 1000 - news.event_us
    assert 0 < news.late.sum() < len(news)
    assert (report.events, report.late) == (len(news), news.late.sum())
    assert report.unreceived == (0 if known_by is KnownBy.INGEST_TIME else (~news.received).sum())
    assert {(g.source, g.event_type): (g.events, g.late) for g in report.groups} == {
        key: (len(group), group.late.sum()) for key, group in news.groupby(["source", "event_type"])
    }
    assert sorted(event.event_id for event in report.latest) == sorted(news[news.late].event_id)
    lags = [event.lag for event in report.latest]
    assert lags == sorted(lags, reverse=True)
    percentiles = numpy.percentile(news.lag, [50, 90, 99, 100], method="inverted_cdf")
    found = [report.p50, report.p90, report.p99, report.longest]
    assert found == [timedelta(microseconds=int(lag)) for lag in percentiles]


async def test_the_bound_itself_is_in_time_to_the_last_digit(tmp_path: Path) -> None:
    bound = START.micros - 60_000_000
    digit_later = Instant(START.micros, "001")
    arrivals = [
        arrival("on the bound", Instant(bound)),
        arrival("a microsecond before it", Instant(bound - 1, "999")),
        arrival("a digit after it", Instant(bound, "001")),
        arrival("received a digit later", Instant(bound), received_time=digit_later),
        arrival("and happened a digit later", Instant(bound, "001"), received_time=digit_later),
    ]
    made, snapshot = await recorded(tmp_path, [(START, arrivals)])
    options = LateOptions(timedelta(minutes=1), known_by=KnownBy.RECEIVED_TIME)
    report = await late(made.stream, snapshot, None, options)
    assert {event.event_id for event in report.latest} == {arrivals[1].event_id, arrivals[3].event_id}


async def test_an_empty_window_has_no_percentiles(tmp_path: Path) -> None:
    made, snapshot = await recorded(tmp_path, history(1))
    long_ago = Window(Instant(0), Instant(1))
    report = await late(made.stream, snapshot, long_ago, LateOptions(timedelta()))
    assert (report.events, report.late, report.share, report.p50, report.groups) == (0, 0, 0.0, None, ())


async def test_a_replay_is_not_late(tmp_path: Path) -> None:
    made = await world(tmp_path)
    old = Instant(START.micros - 99 * HOUR)
    await made.land(rows([arrival("back", old, replay_of="run1"), arrival("new", old)]), at=START)
    snapshot = await take_snapshot(made.stream, now=START)
    report = await late(made.stream, snapshot, None, LateOptions(timedelta(hours=1)))
    assert (report.events, report.late) == (1, 1)


def test_a_limit_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LateOptions(timedelta(), limit=0)


async def test_replayed_rows_of_a_stream_that_decides_on_read_are_not_late(tmp_path: Path) -> None:
    made = await world(tmp_path, Deduplication.ON_READ)
    old = Instant(START.micros - 99 * HOUR)
    await made.land(rows([arrival("back", old, replay_of="run1")], Outcome.REPLAYED), at=START)
    snapshot = await take_snapshot(made.stream, now=START)
    report = await late(made.stream, snapshot, None, LateOptions(timedelta(hours=1)))
    assert (report.events, report.late) == (0, 0)
