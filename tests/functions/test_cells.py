"""Buckets around an instant, beside the starts that aggregates use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.api.aggregate_version import TimeBucket
from pik.domain.instants import Instant, parse_instant
from pik.functions.cells import NotAReplay, bucket_around, over, read_message
from pik.planning.buckets import HOUR, starts
from pik.planning.definitions import Definition, Measure, WindowText

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Havana",
)
BUCKETS = [bucket for bucket in TimeBucket if bucket is not TimeBucket.WINDOW]
DAY = 24 * HOUR


def definition(bucket: TimeBucket, zone: str = "UTC") -> Definition:
    window = WindowText("2013-01-01T00:00:00.000000Z", "2013-01-02T00:00:00.000000Z")
    return Definition("s", window, zone, bucket, (), (Measure("n", "count(*)"),), None)


@given(st.sampled_from(BUCKETS), st.sampled_from(ZONES), st.integers(0, 60 * 365 * DAY))
def test_it_is_the_bucket_that_aggregates_have(bucket: TimeBucket, zone: str, micros: int) -> None:
    asked = definition(bucket, zone)
    window = bucket_around(asked, Instant(micros))
    assert Instant(micros) in window
    hours = range((micros // DAY - 35) * DAY, (micros // DAY + 35) * DAY, HOUR)
    if bucket in (TimeBucket.MINUTE, TimeBucket.HOUR):
        hours = range((micros // HOUR - 3) * HOUR, (micros // HOUR + 4) * HOUR, HOUR)
    begins = starts(bucket, asked.zone, hours)
    assert window.start.micros == max(begin for begin in begins if begin <= micros)
    assert window.end.micros == min(begin for begin in begins if begin > micros)


@pytest.mark.parametrize(
    ("bucket", "instant", "hours"),
    [
        (TimeBucket.DAY, "2013-11-03T12:00:00-05:00", 25),
        (TimeBucket.DAY, "2013-03-10T12:00:00-04:00", 23),
        (TimeBucket.WEEK, "2013-11-01T00:00:00-04:00", 7 * 24 + 1),
        (TimeBucket.MONTH, "2013-11-30T23:59:59-05:00", 30 * 24 + 1),
        (TimeBucket.MONTH, "2012-02-29T12:00:00-05:00", 29 * 24),
    ],
)
def test_clocks_and_calendars(bucket: TimeBucket, instant: str, hours: int) -> None:
    window = bucket_around(definition(bucket, "America/New_York"), parse_instant(instant))
    assert (window.end.micros - window.start.micros) / HOUR == hours
    assert over(definition(bucket), window).span == window


def test_a_window_has_no_length_of_its_own() -> None:
    with pytest.raises(ValueError, match="use Month"):
        bucket_around(definition(TimeBucket.WINDOW), Instant(0))


MESSAGE = {"pikrun": "a" * 64, "pikstream": "s", "time": "2013-07-10T04:00:00Z"}


def test_a_message_of_a_replay() -> None:
    claim, time = read_message(json.dumps(MESSAGE), "s")
    assert (claim.run_id, time.text) == (MESSAGE["pikrun"], "2013-07-10T04:00:00.000000Z")


@pytest.mark.parametrize(
    "changes", [{"pikrun": "x"}, {"pikrun": None}, {"pikstream": "other"}, {"time": None}, {"time": "noon"}]
)
def test_a_message_of_none(changes: dict[str, Any]) -> None:
    with pytest.raises(NotAReplay):
        read_message(json.dumps({**MESSAGE, **changes}), "s")
