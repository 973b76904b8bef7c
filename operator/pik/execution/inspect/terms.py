"""The SQL that the inspections share. Nothing of a user is in it but instants and names, quoted."""

from __future__ import annotations

from datetime import timedelta

from pik.api.aggregate_version import KnownBy
from pik.api.replay_job import TimeField
from pik.domain.instants import Instant
from pik.domain.windows import Window

LIMIT = 100  # rows of a list, unless options say otherwise

_KNOWN = {
    KnownBy.INGEST_TIME: ("epoch_us(ingest_time)", "''"),
    KnownBy.RECEIVED_TIME: (
        "epoch_us(coalesce(received_time, ingest_time))",
        "coalesce(received_time_rest, '')",
    ),
}
_MICROSECOND = timedelta(microseconds=1)


def known_micros(known_by: KnownBy) -> str:
    """When an arrival became known, in microseconds since the epoch; its ingest time where the source does
    not say when it received it."""
    return _KNOWN[known_by][0]


def known_rest(known_by: KnownBy) -> str:
    """The digits of `known_micros` beyond microseconds; they sort as text."""
    return _KNOWN[known_by][1]


def within(window: Window | None, field: TimeField) -> str:
    """The condition that an arrival is in the window."""
    if window is None:
        return "true"
    column = "event_time" if field is TimeField.EVENT_TIME else "ingest_time"
    return f"{column} >= TIMESTAMPTZ '{window.start.text}' AND {column} < TIMESTAMPTZ '{window.end.text}'"


def at_least_one(limit: int) -> None:
    """Raises ValueError for a limit of nothing."""
    if limit < 1:
        raise ValueError("a limit is at least 1")


def micros(duration: timedelta) -> int:
    return duration // _MICROSECOND


def duration(micros: int | None) -> timedelta | None:
    return None if micros is None else timedelta(microseconds=micros)


def share(part: int, whole: int) -> float:
    """Part of the whole, 0 for a part of nothing."""
    return part / whole if whole else 0.0


def instant(micros: int, rest: str | None = None) -> Instant:
    return Instant(micros, rest or "")
