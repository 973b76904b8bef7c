"""Runs that would get in each other's way at one target."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pik.api.replay_job import TimeField
from pik.planning.replay.spec import ReplaySpec


class Occupant(msgspec.Struct, frozen=True):
    """A run, and the window of its slice. Instants are fixed-width UTC text."""

    run_id: str
    namespace: str
    name: str
    run_key: str
    time_field: TimeField
    start: str
    end: str
    since: str


class Occupancy(msgspec.Struct, frozen=True):
    """Bucket object `targets/<SHA-256 of the target>.json`."""

    target: str
    runs: tuple[Occupant, ...]


def occupant(spec: ReplaySpec, run_id: str, namespace: str, name: str, run_key: str, since: str) -> Occupant:
    """The run of a job with this spec."""
    return Occupant(run_id, namespace, name, run_key, spec.time_field, spec.start, spec.end, since)


def overlapping(run: Occupant, others: Iterable[Occupant]) -> Occupant | None:
    """The first of the others that may send an event that this one sends too: by their windows. Of windows in
    different times (of events, of their storing) nobody can tell, so that they overlap."""
    return next((other for other in others if _overlap(run, other)), None)


def _overlap(one: Occupant, other: Occupant) -> bool:
    if one.time_field is not other.time_field:
        return True
    return one.start < other.end and other.start < one.end
