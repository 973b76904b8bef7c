"""Buckets by the clocks of a zone, against zoneinfo and pandas."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pik.api.aggregate_version import TimeBucket
from pik.domain.instants import EPOCH, parse_instant
from pik.planning.buckets import HOUR, MINUTE, pieces, starts

ZONES = [
    "UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "America/Sao_Paulo", "America/Havana", "America/St_Johns", "Asia/Beirut", "Africa/Cairo",
    "Africa/Casablanca", "Pacific/Apia", "Pacific/Kwajalein", "Antarctica/Troll", "America/Asuncion",
    "Africa/Monrovia",
]  # fmt: skip


def micros(text: str) -> int:
    return parse_instant(text).micros


def moment(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


def bucket_of(at: int, bucket: TimeBucket, zone: ZoneInfo, beside: tuple[int, ...] = ()) -> int:
    """The start of an instant's bucket, with other events' hours beside its own."""
    found = starts(bucket, zone, {t // HOUR * HOUR for t in (at, *beside)})
    return found[bisect_right(found, at) - 1]


def hours(start: str, end: str) -> range:
    return range(micros(start), micros(end), HOUR)


@pytest.mark.parametrize(
    ("zone", "start", "end", "count"),
    [
        ("America/New_York", "2013-11-03T00:00:00-04:00", "2013-11-04T00:00:00-05:00", 25),
        ("America/New_York", "2013-03-10T00:00:00-05:00", "2013-03-11T00:00:00-04:00", 23),
        ("America/New_York", "2013-07-10T00:00:00-04:00", "2013-07-11T00:00:00-04:00", 24),
        ("Asia/Kolkata", "2013-07-10T00:00:00+05:30", "2013-07-11T00:00:00+05:30", 24),
        # clocks go back by half an hour at 2:00: 24 hours and a half one
        ("Australia/Lord_Howe", "2013-04-07T00:00:00+11:00", "2013-04-08T00:00:00+10:30", 25),
    ],
)
def test_hours_of_a_local_day(zone: str, start: str, end: str, count: int) -> None:
    first, last = micros(start), micros(end)
    for bucket, length in ((TimeBucket.HOUR, count), (TimeBucket.DAY, 1)):
        found = starts(bucket, ZoneInfo(zone), range(first // HOUR * HOUR - HOUR, last + HOUR, HOUR))
        inside = [at for at in found if first <= at < last]
        assert (inside[0], len(inside)) == (first, length)
        assert last in found


def test_where_midnight_is_skipped_the_day_begins_at_the_change() -> None:
    # Sao Paulo, 2013-10-20: from 00:00 to 01:00
    at = micros("2013-10-20T12:00:00Z")
    assert bucket_of(at, TimeBucket.DAY, ZoneInfo("America/Sao_Paulo")) == micros("2013-10-20T03:00:00Z")


def test_where_midnight_comes_twice_the_day_begins_with_the_first() -> None:
    zone = ZoneInfo("America/Havana")  # 2013-11-03: from 01:00 to 00:00
    assert bucket_of(micros("2013-11-03T12:00:00Z"), TimeBucket.DAY, zone) == micros("2013-11-03T04:00:00Z")
    # St John's, 2010-11-07: from 00:01 to 23:01 of the day before, which is over
    zone = ZoneInfo("America/St_Johns")
    for text in ("2010-11-07T02:30:30Z", "2010-11-07T02:45:00Z", "2010-11-07T04:00:00Z"):
        assert bucket_of(micros(text), TimeBucket.DAY, zone) == micros("2010-11-07T02:30:00Z")


def test_a_day_that_a_zone_left_out_has_no_bucket() -> None:
    zone = ZoneInfo("Pacific/Apia")  # there was no 30 December 2011
    before, after = micros("2011-12-30T09:59:59Z"), micros("2011-12-30T10:00:00Z")
    assert bucket_of(before, TimeBucket.DAY, zone) == micros("2011-12-29T10:00:00Z")
    assert bucket_of(after, TimeBucket.DAY, zone) == after


@settings(max_examples=400, deadline=None)
@given(
    st.integers(micros("1890-01-01T00:00:00Z"), micros("2060-01-01T00:00:00Z")),
    st.sampled_from([bucket for bucket in TimeBucket if bucket is not TimeBucket.WINDOW]),
    st.sampled_from(ZONES),
    st.lists(st.integers(-3 * 24 * HOUR, 3 * 24 * HOUR), max_size=4),
)
def test_a_bucket_is_the_instants_own(at: int, bucket: TimeBucket, name: str, beside: list[int]) -> None:
    """It does not depend on what other events there are; and every instant in it has the same local label,
    but for the repeated minutes of a day that clocks went back into."""
    zone = ZoneInfo(name)
    start = bucket_of(at, bucket, zone)
    assert bucket_of(at, bucket, zone, tuple(at + step for step in beside)) == start
    assert start <= at
    assert bucket_of(start, bucket, zone) == start
    first, local = moment(start).astimezone(zone), moment(at).astimezone(zone)
    if bucket is TimeBucket.MINUTE:
        assert at - start < MINUTE
        assert first.replace(second=0, microsecond=0) == local.replace(second=0, microsecond=0)
    elif bucket is TimeBucket.HOUR:
        assert at - start < HOUR
        assert (first.date(), first.hour) == (local.date(), local.hour)
    elif bucket is TimeBucket.DAY:
        assert first.date() == local.date() or at - start < 24 * HOUR
    elif bucket is TimeBucket.WEEK:
        assert first.weekday() == 0 or first.utcoffset() != local.utcoffset()
        assert at - start < 8 * 24 * HOUR
    else:
        assert first.day == 1 or first.utcoffset() != local.utcoffset()
        assert at - start < 32 * 24 * HOUR


@settings(max_examples=300, deadline=None)
@given(
    st.integers(micros("1972-01-01T00:00:00Z"), micros("2037-01-01T00:00:00Z")),
    st.sampled_from(["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Sydney", "UTC"]),
)
def test_against_pandas(at: int, name: str) -> None:
    """In zones whose clocks change at hours of day that hold no midnight."""
    local = pandas.Timestamp(at, unit="us", tz="UTC").tz_convert(name)
    midnight = local.normalize()
    expected = {
        TimeBucket.DAY: midnight,
        TimeBucket.WEEK: (midnight.tz_localize(None) - pandas.Timedelta(days=local.weekday())).tz_localize(
            name
        ),
        TimeBucket.MONTH: midnight.tz_localize(None).replace(day=1).tz_localize(name),
    }
    for bucket, start in expected.items():
        assert moment(bucket_of(at, bucket, ZoneInfo(name))) == start.to_pydatetime()
    # whole hours of these zones are whole hours from their offset on
    offset = int(local.utcoffset().total_seconds()) * 1_000_000
    hour = (at + offset) // HOUR * HOUR - offset
    assert bucket_of(at, TimeBucket.HOUR, ZoneInfo(name)) == hour


def test_the_years_at_the_ends_have_buckets() -> None:
    for text in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"):
        for bucket in TimeBucket:
            for name in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
                if bucket is not TimeBucket.WINDOW:
                    assert bucket_of(micros(text), bucket, ZoneInfo(name)) <= micros(text)


@given(st.sets(st.integers(-40, 40)), st.sets(st.integers(-40, 40)), st.integers(1, 7))
def test_pieces_say_of_each_instant_which_start_is_the_last(
    begins: set[int], at: set[int], length: int
) -> None:
    ordered, slots = sorted(begins), {instant // length * length for instant in at}
    found = list(pieces(ordered, slots, length))
    for instant in at:
        slot = instant // length * length
        here = [piece for piece in found if piece.slot == slot and piece.first <= instant < piece.last]
        assert [piece.start for piece in here] == [begin for begin in ordered if begin <= instant][-1:]


def test_days_follow_each_other_without_a_gap() -> None:
    """Over all changes of a century, each bucket begins after the one before and never twice."""
    for name in ZONES:
        zone = ZoneInfo(name)
        year = hours("2011-01-01T00:00:00Z", "2012-01-01T00:00:00Z")
        days = [at for at in starts(TimeBucket.DAY, zone, year) if at >= year[0]]
        gaps = {(after - before) // MINUTE for before, after in pairwise(days)}
        assert gaps <= {23 * 60, 23 * 60 + 30, 24 * 60, 24 * 60 + 30, 25 * 60, 22 * 60, 26 * 60}, name
        labels = [moment(at).astimezone(zone).date() for at in days]
        assert labels == sorted(set(labels)), name
        assert datetime(2011, 6, 1, tzinfo=UTC) > moment(days[0])
