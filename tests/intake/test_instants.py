"""Instants against an oracle that knows nothing of them: calendar days and decimal arithmetic."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.domain.instants import (
    MAX_TEXT,
    Instant,
    InvalidInstant,
    format_micros,
    instant_of,
    parse_instant,
)

DAY = 86_400


@st.composite
def written(draw: st.DrawFn) -> tuple[str, Decimal]:
    """An RFC 3339 text and the seconds since the epoch that it means."""
    day = draw(st.dates(min_value=date(1, 1, 2), max_value=date(9999, 12, 30)))
    hour, minute, second = draw(st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59)))
    fraction = draw(st.text("0123456789", max_size=25))
    offset_minutes = draw(st.integers(-(23 * 60 + 59), 23 * 60 + 59))
    sign = "-" if offset_minutes < 0 else draw(st.sampled_from("+-") if offset_minutes == 0 else st.just("+"))
    offset = f"{sign}{abs(offset_minutes) // 60:02d}:{abs(offset_minutes) % 60:02d}"
    if offset_minutes == 0:
        offset = draw(st.sampled_from(["Z", "z", offset]))
    text = f"{day.isoformat()}{draw(st.sampled_from('Tt '))}{hour:02d}:{minute:02d}:{second:02d}"
    text += ("." + fraction if fraction else "") + offset
    days = day.toordinal() - date(1970, 1, 1).toordinal()
    seconds = Decimal(days * DAY + hour * 3600 + minute * 60 + second - offset_minutes * 60)
    return text, seconds + Decimal("0." + fraction if fraction else 0)


def decimal(instant: Instant) -> Decimal:
    return Decimal(instant.micros).scaleb(-6) + Decimal("0.000000" + instant.rest)


@given(written())
def test_an_instant_is_exactly_what_was_written(case: tuple[str, Decimal]) -> None:
    text, seconds = case
    assert decimal(parse_instant(text)) == seconds


@given(written(), written())
def test_instants_sort_alike_as_values_as_text_and_in_time(
    one: tuple[str, Decimal], other: tuple[str, Decimal]
) -> None:
    a, b = parse_instant(one[0]), parse_instant(other[0])
    assert (a < b) == (a.sort_text < b.sort_text) == (one[1] < other[1])
    assert (a == b) == (a.sort_text == b.sort_text) == (one[1] == other[1])


@given(written())
def test_neighbours_beyond_microseconds_sort_too(case: tuple[str, Decimal]) -> None:
    a = parse_instant(case[0])
    later = Instant(a.micros, a.rest + "1")
    assert a < later
    assert a.sort_text < later.sort_text < Instant(a.micros + 1).sort_text


@given(written())
def test_text_has_one_width_and_is_read_back(case: tuple[str, Decimal]) -> None:
    instant = parse_instant(case[0])
    assert len(instant.text) == 27
    assert parse_instant(instant.exact_text) == instant
    assert parse_instant(instant.text) == Instant(instant.micros)
    assert instant.to_datetime() == datetime.fromisoformat(instant.text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_datetimes_and_texts_agree(moment: datetime) -> None:
    assert instant_of(moment) == parse_instant(moment.isoformat())
    assert format_micros(instant_of(moment).micros) == moment.isoformat(timespec="microseconds")[:-6] + "Z"


def test_an_offset_moves_the_instant() -> None:
    there = datetime(2013, 7, 10, tzinfo=timezone(timedelta(hours=-4)))
    assert instant_of(there) == parse_instant("2013-07-10T00:00:00-04:00")
    assert instant_of(there).text == "2013-07-10T04:00:00.000000Z"


def test_a_naive_datetime_is_no_instant() -> None:
    with pytest.raises(InvalidInstant):
        instant_of(datetime(2013, 7, 10))  # noqa: DTZ001 - that is the point


GOOD = [
    ("2013-07-10t04:00:00z", "2013-07-10T04:00:00.000000Z"),
    ("2013-07-10 04:00:00Z", "2013-07-10T04:00:00.000000Z"),
    ("2013-07-10T04:00:00.5Z", "2013-07-10T04:00:00.500000Z"),
    ("2013-07-10T04:00:00.1234567Z", "2013-07-10T04:00:00.1234567Z"),
    ("2013-07-10T04:00:00.12345670000Z", "2013-07-10T04:00:00.1234567Z"),
    ("2013-07-10T04:00:00.000000000Z", "2013-07-10T04:00:00.000000Z"),
    ("2013-07-10T04:00:00-00:00", "2013-07-10T04:00:00.000000Z"),
    ("2013-07-10T23:59:59+23:59", "2013-07-10T00:00:59.000000Z"),
    ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
    ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
    ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.9999999Z"),
    ("2012-02-29T00:00:00Z", "2012-02-29T00:00:00.000000Z"),
]


@pytest.mark.parametrize(("text", "exact"), GOOD)
def test_every_width_and_offset(text: str, exact: str) -> None:
    assert parse_instant(text).exact_text == exact


BAD = [
    "",
    "2013-07-10",
    "2013-07-10T04:00:00",  # no offset
    "2013-07-10T04:00Z",
    "2013-07-10T04:00:00.Z",
    "2013-07-10T04:00:00,5Z",
    "2013-07-10T04:00:00+0400",
    "2013-07-10T04:00:00+04",
    "2013-07-10T04:00:00+24:00",
    "2013-07-10T04:00:00+22:60",
    "2013-07-10T24:00:00Z",
    "2013-07-10T04:60:00Z",
    "2016-12-31T23:59:60Z",  # a leap second
    "2013-07-10T04:00:61Z",
    "2013-02-29T00:00:00Z",
    "2013-13-01T00:00:00Z",
    "2013-00-01T00:00:00Z",
    "2013-07-00T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "-001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+00:01",  # before the year 1 in UTC
    "9999-12-31T23:59:59-00:01",  # after the year 9999 in UTC
    "2013-W28-3T04:00:00Z",
    "2013-7-10T4:00:00Z",
    " 2013-07-10T04:00:00Z",
    "2013-07-10T04:00:00Z\n",
    "2013-07-10T04:00:00Z\0",
    "２０13-07-10T04:00:00Z",
    "2013-07-10T04:00:00." + "1" * MAX_TEXT + "Z",
    "1373428800",
    "now",
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_an_instant(text: str) -> None:
    with pytest.raises(InvalidInstant):
        parse_instant(text)


@given(st.text(max_size=40))
def test_any_text_is_an_instant_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidInstant):
        parse_instant(text)
