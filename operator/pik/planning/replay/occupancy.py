"""Runs that would get in each other's way at one target."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pik.api.replay_job import TimeField
from pik.planning.replay.spec import ReplaySpec


class Occupant(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run, and the window of its slice. Instants are fixed-width UTC text. `entity`: the one that it is of,
    if it is of one alone; `until`: when it sends no more whatever becomes of it, of a run without an object
    that asks for it."""

    run_id: str
    namespace: str
    name: str
    run_key: str
    time_field: TimeField
    start: str
    end: str
    since: str
    entity: str | None = None
    until: str | None = None


class Occupancy(msgspec.Struct, frozen=True):
    """Bucket object `targets/<SHA-256 of the target>.json`."""

    target: str
    runs: tuple[Occupant, ...]


def occupant(
    spec: ReplaySpec,
    run_id: str,
    namespace: str,
    name: str,
    run_key: str,
    since: str,
    until: str | None = None,
) -> Occupant:
    """The run of a job with this spec."""
    entity = spec.entities[0] if spec.entities is not None and len(spec.entities) == 1 else None
    return Occupant(
        run_id, namespace, name, run_key, spec.time_field, spec.start, spec.end, since, entity, until
    )


def overlapping(run: Occupant, others: Iterable[Occupant]) -> Occupant | None:
    """The first of the others that may send an event that this one sends too: by their windows, unless each
    is of an entity of its own. Of windows in different times (of events, of their storing) nobody can tell,
    so that they overlap."""
    return next((other for other in others if _overlap(run, other)), None)


def _overlap(one: Occupant, other: Occupant) -> bool:
    if one.entity is not None and other.entity is not None and one.entity != other.entity:
        return False
    if one.time_field is not other.time_field:
        return True
    return one.start < other.end and other.start < one.end
