"""Event times that cannot be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pik.api.aggregate_version import KnownBy
from pik.domain.arrivals import Arrival
from pik.domain.instants import Instant, parse_instant
from pik.domain.windows import Window
from pik.execution.inspect.skew import Oddity, SkewOptions, skew
from reading.histories import counts, events, frame, history, recorded
from reading.streams import DAY, HOUR, SECOND, START, after, arrival

WINDOW = Window(Instant(START.micros + HOUR), Instant(START.micros + 4 * HOUR))


def at(text: str) -> Instant:
    return parse_instant(text)


ODD = {
    "0001-01-01T00:00:00Z": Oddity.TOO_OLD,
    "1969-12-31T23:59:59.999999Z": Oddity.TOO_OLD,
    "1970-01-01T00:00:00Z": Oddity.EPOCH,
    "1970-01-21T10:00:00Z": Oddity.EPOCH,  # milliseconds of today, read as microseconds
    "1970-02-01T00:00:00Z": Oddity.TOO_OLD,
    "1989-12-31T23:59:59Z": Oddity.TOO_OLD,
    "1990-01-01T00:00:00Z": None,
    "9999-12-31T23:59:59Z": Oddity.FAR_AHEAD,
}


async def test_times_that_are_not_real_have_a_name(tmp_path: Path) -> None:
    arrivals: list[tuple[Arrival, Oddity | None]] = [
        (arrival(text, at(text)), oddity) for text, oddity in ODD.items()
    ]
    arrivals += [
        (arrival("within tolerance", after(1)), None),
        (arrival("beyond it by a digit", Instant(START.micros + SECOND, "1")), Oddity.AHEAD),
        (arrival("a day", Instant(START.micros + DAY)), Oddity.AHEAD),
        (arrival("more than a day", Instant(START.micros + DAY + 1)), Oddity.FAR_AHEAD),
    ]
    made, snapshot = await recorded(tmp_path, [(START, [a for a, _ in arrivals])])
    report = await skew(made.stream, snapshot, None, SkewOptions())
    assert {e.event_id: e.oddity for e in report.examples} == {
        a.event_id: oddity for a, oddity in arrivals if oddity is not None
    }
    assert (report.events, report.odd) == (12, 10)
    assert (report.epoch, report.too_old, report.far_ahead, report.ahead) == (2, 4, 2, 2)
    assert report.furthest_ahead == timedelta(days=1)
    [source] = report.sources
    assert (source.source, source.events, source.odd, source.ahead) == ("sensors", 12, 10, 2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.parametrize("known_by", KnownBy)
async def test_events_ahead_are_those_that_pandas_counts(
    tmp_path: Path, seed: int, window: Window | None, known_by: KnownBy
) -> None:
    told = history(seed)
    made, snapshot = await recorded(tmp_path, told)
    options = SkewOptions(known_by, tolerance=timedelta(minutes=3), limit=10_000)
    report = await skew(made.stream, snapshot, window, options)
    news = events(frame(told))
    if window is not None:
        news = news[(news.event_us >= window.start.micros) & (news.event_us < window.end.micros)]
    known = news.known_ns if known_by is KnownBy.RECEIVED_TIME else news.ingest_us * 1000
    ahead = news[news.event_ns - known > 180 * SECOND * 1000]
    assert len(ahead) > 0
    assert (report.events, report.ahead, report.odd) == (len(news), len(ahead), len(ahead))
    assert {s.source: s.ahead for s in report.sources if s.ahead} == counts(ahead.source)
    assert [e.event_id for e in report.examples] == list(ahead.event_id)
