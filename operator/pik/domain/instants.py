"""Instants: UTC, exact, and ordered the same as numbers and as text (law 4).

An instant is whole microseconds since 1970-01-01T00:00:00Z plus `rest`: the decimal digits that a producer
gave beyond microseconds, without trailing zeros. (micros, rest) sorts as time does, and so does `sort_text`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - counted from, in UTC
_MICROSECOND = timedelta(microseconds=1)
_FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
# RFC 3339 section 5.6, with the lower-case t and z and the space that its note allows. Hours, minutes and
# offsets are bounded here: datetime takes 24:00 in some versions of Python and +22:60 in all.
_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ]((?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60))(?:\.(\d+))?"
    r"([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
MAX_TEXT = 64


class InvalidInstant(ValueError):
    """The text is not an RFC 3339 instant between the years 0001 and 9999 in UTC."""


class Instant(msgspec.Struct, frozen=True, order=True, gc=False):
    """A point in time. `micros`: microseconds since the epoch; `rest`: further digits, `''` when none."""

    micros: int
    rest: str = ""

    @property
    def text(self) -> str:
        """Fixed width, `2013-07-10T04:00:00.000000Z`; digits beyond microseconds are in `rest`."""
        return format_micros(self.micros)

    @property
    def sort_text(self) -> str:
        """Sorts as text exactly as the instants sort in time; for sort keys and object names."""
        return format_micros(self.micros)[:-1] + self.rest

    @property
    def exact_text(self) -> str:
        """RFC 3339 with every digit the producer gave."""
        return self.sort_text + "Z"

    def to_datetime(self) -> datetime:
        """Aware UTC datetime; digits beyond microseconds cannot be carried and are dropped."""
        return EPOCH + timedelta(microseconds=self.micros)


def format_micros(micros: int) -> str:
    """`2013-07-10T04:00:00.000000Z`, always 27 characters."""
    # isoformat pads the year, strftime("%Y") does not
    return (_NAIVE_EPOCH + timedelta(0, 0, micros)).isoformat("T", "microseconds") + "Z"


def parse_instant(text: str) -> Instant:
    """Reads an RFC 3339 instant of any width and offset.

    Raises `InvalidInstant`: no offset, a field out of range, more than `MAX_TEXT` characters, a leap second
    (it has no place on a time line of 86,400-second days), or a year that leaves 0001–9999 in UTC.
    """
    match = _RFC3339.fullmatch(text) if len(text) <= MAX_TEXT else None
    if match is None:
        raise InvalidInstant("not an RFC 3339 instant with an offset, such as 2013-07-10T04:00:00Z")
    day, clock, fraction, offset = match.groups()
    if clock.endswith("60"):
        raise InvalidInstant("a leap second has no place on a time line of 86,400-second days")
    try:
        local = datetime.fromisoformat(f"{day}T{clock}") - _NAIVE_EPOCH
    except ValueError as error:
        raise InvalidInstant(f"not an instant of the years 0001 to 9999: {error}") from error
    seconds = local.days * 86_400 + local.seconds
    if offset not in "Zz":
        ahead = int(offset[1:3]) * 3600 + int(offset[4:]) * 60
        seconds += ahead if offset[0] == "-" else -ahead
        if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
            raise InvalidInstant("not an instant of the years 0001 to 9999 in UTC")
    micros = seconds * 1_000_000
    if fraction is None:
        return Instant(micros)
    if len(fraction) <= 6:
        return Instant(micros + int(fraction.ljust(6, "0")))
    return Instant(micros + int(fraction[:6]), fraction[6:].rstrip("0"))


def instant_of(moment: datetime) -> Instant:
    """From an aware datetime. Raises `InvalidInstant` for a naive one."""
    if moment.tzinfo is None:
        raise InvalidInstant("a datetime without an offset is not an instant")
    return Instant((moment - EPOCH) // _MICROSECOND)
