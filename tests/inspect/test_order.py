"""Disorder against a plain loop over the same arrivals."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas
import pytest

from pik.api.aggregate_version import KnownBy
from pik.domain.instants import Instant
from pik.domain.windows import Window
from pik.execution.inspect.order import OrderOptions, order
from pik.execution.stream import Deduplication
from reading.histories import captured, counts, events, frame, history, recorded
from reading.streams import HOUR, START, after, arrival

WINDOW = Window(Instant(START.micros + HOUR), Instant(START.micros + 4 * HOUR))


def behind(news: pandas.DataFrame) -> pandas.Series:
    """Of each event in this order: how far behind the latest of its entity so far, NaN if it is not."""
    earlier = news.groupby("entity_id").event_ns.transform(lambda times: times.cummax().shift())
    return (earlier - news.event_ns).where(earlier > news.event_ns)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.parametrize("known_by", KnownBy)
async def test_disorder_is_what_pandas_counts(
    tmp_path: Path, seed: int, window: Window | None, known_by: KnownBy
) -> None:
    told = history(seed)
    made, snapshot = await recorded(tmp_path, told)
    report = await order(made.stream, snapshot, window, OrderOptions(known_by, limit=10_000))
    news = events(frame(told)).copy()
    if known_by is KnownBy.RECEIVED_TIME:
        news = news.sort_values("known_ns", kind="stable")
    news["behind"] = behind(news)
    if window is not None:
        news = news[(news.event_us >= window.start.micros) & (news.event_us < window.end.micros)]
    wrong = news[news.behind.notna()]
    assert 5 < len(wrong) < len(news)
    assert (report.events, report.disordered) == (len(news), len(wrong))
    assert report.entities_affected == wrong.entity_id.nunique()
    assert {e.entity_id: e.disordered for e in report.entities} == counts(wrong.entity_id)
    assert {s.source: s.disordered for s in report.sources if s.disordered} == counts(wrong.source)
    assert sorted(event.event_id for event in report.worst) == sorted(wrong.event_id)
    furthest = timedelta(microseconds=int(wrong.behind.max() // 1000))
    assert abs(report.furthest_behind - furthest) <= timedelta(microseconds=1)  # its digits beyond are cut
    assert report.worst[0].behind == report.furthest_behind


async def test_it_is_the_same_however_the_stream_decides(tmp_path: Path) -> None:
    found = []
    for deduplication in Deduplication:
        made, snapshot = await captured(tmp_path / deduplication, history(7), deduplication)
        report = await order(made.stream, snapshot, None, OrderOptions())
        found.append((report.events, report.disordered, report.furthest_behind, report.entities))
    assert found[0] == found[1]
    assert found[0][1] > 0


async def test_a_digit_beyond_microseconds_is_enough(tmp_path: Path) -> None:
    later, sooner = Instant(START.micros, "5"), Instant(START.micros, "25")
    told = [(START, [arrival("a", later)]), (after(1), [arrival("b", sooner), arrival("c", later)])]
    made, snapshot = await recorded(tmp_path, told)
    report = await order(made.stream, snapshot, None, OrderOptions())
    assert [event.event_id for event in report.worst] == [told[1][1][0].event_id]
    assert report.furthest_behind == timedelta()
