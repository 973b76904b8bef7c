"""Time buckets as arithmetic: most follow each other at one distance, so that few numbers say it all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pik.api.aggregate_version import TimeBucket
from pik.planning.buckets import HOUR, MINUTE, Piece

_UNITS = {
    TimeBucket.MINUTE: MINUTE,
    TimeBucket.HOUR: HOUR,
    TimeBucket.DAY: 24 * HOUR,
    TimeBucket.WEEK: 7 * 24 * HOUR,
    TimeBucket.MONTH: 31 * 24 * HOUR,
}


class Stretch(NamedTuple):
    """Instants from `first` on, until the next stretch, are in buckets that begin at `origin` and every
    `step` after it. Microseconds."""

    first: int
    origin: int
    step: int


def stretches(bucket: TimeBucket, pieces: Iterable[Piece]) -> list[Stretch]:
    """As few as put all instants of these pieces, which are in order, into their buckets; what they say of
    instants in between is nothing. Not for `Window`."""
    unit = _UNITS[bucket]
    found: list[Stretch] = []
    for piece in pieces:
        if found:
            _, origin, step = found[-1]
            distance = piece.start - origin
            if distance % step == 0 and piece.last - piece.start <= step:
                continue
        found.append(Stretch(piece.first, piece.start, max(unit, piece.last - piece.start)))
    return found


def start_of(stretches: Sequence[Stretch], micros: str) -> str:
    """SQL for the start of an instant's bucket; both are microseconds as BIGINT."""
    if not stretches:
        return micros  # of no event
    *later, first = [
        (stretch.first, f"{micros} - ({micros} - {stretch.origin}) % {stretch.step}")
        for stretch in reversed(stretches)
    ]
    if not later:
        return f"({first[1]})"
    cases = " ".join(f"WHEN {micros} >= {begin} THEN {start}" for begin, start in later)
    return f"(CASE {cases} ELSE {first[1]} END)"
