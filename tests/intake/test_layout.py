"""Where objects lie, and windows."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.domain.instants import Instant, parse_instant
from pik.domain.layout import Layout, hours_between, owner_key, segment_id
from pik.domain.segments import SegmentID, parse_segment_id
from pik.domain.windows import Window

LAYOUT = Layout("flights/", "5f0c")
ENTROPY = st.text("0123456789abcdef", min_size=20, max_size=20)
NOW = st.builds(Instant, st.integers(0, 4 * 10**15))


@given(NOW, ENTROPY, st.integers(1, 10**9))
def test_a_segments_key_names_it_and_its_hour(now: Instant, entropy: str, generation: int) -> None:
    segment = segment_id(now, entropy, generation)
    key = LAYOUT.segment(segment)
    assert key.startswith(LAYOUT.hour(now.to_datetime()))
    assert key.startswith(LAYOUT.raw)
    assert LAYOUT.segment_of(key) == segment
    assert parse_segment_id(str(segment)) == segment
    assert segment.stamp_millis == now.micros // 1000


@given(NOW, NOW, ENTROPY, ENTROPY)
def test_segments_and_their_keys_sort_as_they_were_stamped(a: Instant, b: Instant, x: str, y: str) -> None:
    one, other = segment_id(a, x, 1), segment_id(b, y, 1)
    if one.stamp_millis < other.stamp_millis:
        assert one < other
        assert LAYOUT.segment(one) < LAYOUT.segment(other)


def test_a_key_reads_as_a_partition() -> None:
    segment = segment_id(parse_instant("2013-07-10T04:59:59.999999Z"), "0" * 20, 1)
    assert LAYOUT.segment(segment).startswith("flights/raw/stream=5f0c/ingest_date=2013-07-10/hour=04/")


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key.replace("hour=04", "hour=05"),
        lambda key: key.replace("stream=5f0c", "stream=5f0d"),
        lambda key: key.replace(".parquet", ".json"),
        lambda key: key.replace(".g00000001", ".g1"),
        lambda key: key.replace("hour=04/", "hour=04/sub/"),
        lambda key: key + ".parquet",
        lambda key: key[1:],
        lambda key: key.replace("flights/raw", "flights/seals"),
    ],
)
def test_a_key_that_is_not_quite_a_segments(change: object) -> None:
    key = LAYOUT.segment(segment_id(parse_instant("2013-07-10T04:00:00Z"), "a" * 20, 1))
    assert LAYOUT.segment_of(key)
    with pytest.raises(ValueError, match="segment"):
        LAYOUT.segment_of(change(key))  # type: ignore[operator]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 32,
        "a" * 32 + ".g",
        "g" * 32 + ".g00000001",
        "0x" + "a" * 30 + ".g00000001",
        "1_" * 16 + ".g00000001",
        "A" * 32 + ".g00000001",
        "a" * 32 + ".g+0000001",
        "a" * 32 + ".g0000_001",
    ],
)
def test_what_is_not_a_segments_name(text: str) -> None:
    with pytest.raises(ValueError, match="not a segment id"):
        parse_segment_id(text)


def test_numbers_in_keys_sort_as_text() -> None:
    assert LAYOUT.generation(9) < LAYOUT.generation(10) < LAYOUT.generation(99_999_999)
    assert LAYOUT.seal(9) < LAYOUT.seal(10)


def test_everything_lies_under_the_prefix() -> None:
    layout = Layout("a/b/", "5f0c")
    keys = [layout.owner, layout.raw, layout.generation(1), layout.seal(1), layout.snapshot("s")]
    keys += [layout.run("r"), layout.aggregates]
    assert all(key.startswith("a/b/") for key in keys)
    assert Layout("", "5f0c").owner == owner_key("") == "owner.json"


@given(NOW, st.integers(0, 10 * 3_600_000_000))
def test_hours_between_are_every_hour_once(first: Instant, span: int) -> None:
    last = Instant(first.micros + span)
    hours = hours_between(first, last)
    assert hours[0] <= first.to_datetime() < hours[0] + timedelta(hours=1)
    assert hours[-1] <= last.to_datetime() < hours[-1] + timedelta(hours=1)
    assert all(b - a == timedelta(hours=1) for a, b in itertools.pairwise(hours))
    assert all(hour.tzinfo is UTC for hour in hours)


def test_no_hours_between_an_end_and_a_start() -> None:
    assert hours_between(Instant(3_600_000_000), Instant(0)) == []


def test_a_segment_id_orders_by_time_then_generation() -> None:
    assert SegmentID("0" * 32, 2) < SegmentID("1" + "0" * 31, 1)
    assert SegmentID("0" * 32, 1) < SegmentID("0" * 32, 2)


START, END = parse_instant("2013-07-10T00:00:00Z"), parse_instant("2013-07-11T00:00:00Z")


def test_a_window_is_half_open() -> None:
    window = Window(START, END)
    assert START in window
    assert Instant(END.micros - 1, "999") in window
    assert END not in window
    assert Instant(START.micros - 1, "999") not in window


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=6, unique=True), st.integers(0, 1000))
def test_windows_that_meet_hold_each_instant_once(cuts: list[int], at: int) -> None:
    cuts.sort()
    windows = [Window(Instant(a), Instant(b)) for a, b in itertools.pairwise(cuts)]
    held = sum(Instant(at) in window for window in windows)
    assert held == (cuts[0] <= at < cuts[-1])


@pytest.mark.parametrize(
    ("start", "end"),
    [(END, START), (START, START), (Instant(0, "1"), END), (START, Instant(END.micros, "1"))],
)
def test_what_is_not_a_window(start: Instant, end: Instant) -> None:
    with pytest.raises(ValueError, match="window"):
        Window(start, end)


def test_an_hour_prefix_is_padded() -> None:
    assert LAYOUT.hour(datetime(2013, 1, 2, 3, tzinfo=UTC)).endswith("ingest_date=2013-01-02/hour=03/")
