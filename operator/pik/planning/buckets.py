"""Time buckets: where each begins in UTC, by the clocks of a time zone.

Days, weeks (from Monday) and months begin with the first instant of their first local day: at midnight, or
where clocks skip midnight at the change, or where they repeat it the first time. Hours and minutes begin
where the local clock shows a full one, and where clocks are changed: a repeated hour is an hour of its own.
Buckets of a kind follow each other without a gap, and each ends where the next begins.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pik.api.aggregate_version import TimeBucket
from pik.domain.instants import EPOCH

MINUTE = 60_000_000  # microseconds
HOUR = 60 * MINUTE

_CLOCK_UNITS = {TimeBucket.MINUTE: MINUTE, TimeBucket.HOUR: HOUR}
_MICROSECOND = timedelta(microseconds=1)
# Python has no local dates beyond its years: the first and the last of them are not divided into buckets
_FIRST = (datetime(2, 1, 1, tzinfo=UTC) - EPOCH) // _MICROSECOND
_LAST = (datetime(9998, 12, 31, tzinfo=UTC) - EPOCH) // _MICROSECOND
_BEGINNING = (datetime.min.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND


class Piece(NamedTuple):
    """The instants from `first` on and before `last`, of the slot that starts at `slot`, are in the bucket
    that starts at `start`. Microseconds since the epoch."""

    slot: int
    first: int
    last: int
    start: int


def starts(bucket: TimeBucket, zone: ZoneInfo, hours: Iterable[int]) -> list[int]:
    """The starts, in order, among which each instant of the given UTC hours finds its bucket's: the latest
    that is not after it. `hours`: their first microseconds since the epoch. Not for `Window`, whose one
    bucket begins with it."""
    found = {_BEGINNING}
    if bucket in _CLOCK_UNITS:
        for hour in hours:
            found.update(_on_the_clock(zone, hour, _CLOCK_UNITS[bucket]))
    else:
        days = {day for hour in hours for day in _first_days(bucket, _local_date(zone, hour))}
        found.update(_day_start(zone, day) for day in days)
    return sorted(found)


def slot_length(bucket: TimeBucket) -> int:
    """Of the spans of UTC, in microseconds, by which instants are looked up."""
    return MINUTE if bucket is TimeBucket.MINUTE else HOUR


def pieces(begins: Sequence[int], slots: Iterable[int], length: int) -> Iterator[Piece]:
    """What the buckets that begin at `begins` (in order) make of slots of this length: one piece of most."""
    for slot in slots:
        end = slot + length
        place = bisect_right(begins, slot)
        edges = [slot, *begins[place : bisect_left(begins, end)], end]
        for number, (first, last) in enumerate(pairwise(edges)):
            if place + number > 0:
                yield Piece(slot, first, last, begins[place + number - 1])


def _on_the_clock(zone: ZoneInfo, hour: int, unit: int) -> Iterator[int]:
    """Where local units begin in a UTC hour, and in the unit before it."""
    start, end = hour - unit, hour + HOUR
    change = _change(zone, start, end)
    pieces = [(start, end)] if change is None else [(start, change), (change, end)]
    if change is not None:
        yield change
    for first, last in pieces:
        to_next = -(first + _offset(zone, first)) % unit
        yield from range(first + to_next, last, unit)


def _first_days(bucket: TimeBucket, day: date) -> list[date]:
    """The first days of the bucket that a local day is in, and of those beside it: where clocks go back over
    midnight, an instant is in the bucket after that of its local day."""
    match bucket:
        case TimeBucket.WEEK:
            monday = day - timedelta(days=day.weekday())
            return [monday - timedelta(days=7), monday, monday + timedelta(days=7)]
        case TimeBucket.MONTH:
            first = day.replace(day=1)
            return [
                (first - timedelta(days=1)).replace(day=1),
                first,
                (first + timedelta(days=31)).replace(day=1),
            ]
    return [day - timedelta(days=1), day, day + timedelta(days=1)]


def _day_start(zone: ZoneInfo, day: date) -> int:
    midnight = datetime.combine(day, time(), zone)
    early, late = sorted(_micros(midnight.replace(fold=fold)) for fold in (0, 1))
    change = _change(zone, early, late) if early < late else None
    is_skipped = change is not None and _offset(zone, early) < _offset(zone, late)
    return change if change is not None and is_skipped else early


def _change(zone: ZoneInfo, early: int, late: int) -> int | None:
    """The one instant in (early, late] from which the zone's offset is another; None: there is none."""
    before = _offset(zone, early)
    if _offset(zone, late) == before:
        return None
    while late - early > 1:
        middle = (early + late) // 2
        if _offset(zone, middle) == before:
            early = middle
        else:
            late = middle
    return late


def _offset(zone: ZoneInfo, micros: int) -> int:
    offset = _local(zone, micros).utcoffset()
    return 0 if offset is None else offset // _MICROSECOND


def _local_date(zone: ZoneInfo, micros: int) -> date:
    return _local(zone, micros).date()


def _local(zone: ZoneInfo, micros: int) -> datetime:
    return (EPOCH + timedelta(microseconds=min(max(micros, _FIRST), _LAST))).astimezone(zone)


def _micros(moment: datetime) -> int:
    return (moment.astimezone(UTC) - EPOCH) // _MICROSECOND
