"""Runs that would get in each other's way at one target."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pik.api.replay_job import TimeField
from pik.domain.instants import Instant, parse_instant
from pik.planning.replay.spec import ReplaySpec

STANDS = 3_600.0
"""Seconds since a ReplayJob asked for its place, for which those who see no objects keep out of its way."""

_RENEWED = 300.0  # seconds after which that is written down again


class Occupant(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run, and the window of its slice. Instants are fixed-width UTC text. `entity`: the one that it is of,
    if it is of one alone; `until`: when it sends no more whatever becomes of it, of a run without an object
    that asks for it; `asked`: when its object asked for it last, else."""

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
    asked: str | None = None

    def stands(self, now: Instant) -> bool:
        """Whether its object still asks for it, as far as one can tell who does not see the object."""
        return _apart(self.asked or self.since, now.text) < STANDS


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
    asked = since if until is None else None
    return Occupant(
        run_id, namespace, name, run_key, spec.time_field, spec.start, spec.end, since, entity, until, asked
    )


def renewed(run: Occupant, before: Occupant | None) -> Occupant:
    """What is to stand for a run for which this stood before; the same where there is nothing new. A place
    that a ReplayJob has is not made one that ends by who goes on with its run for some time."""
    if before is None:
        return run
    run = msgspec.structs.replace(run, since=before.since)
    asked = before.asked or before.since
    if before.until is None and run.until is not None:
        return msgspec.structs.replace(run, until=None, asked=max(asked, run.until))
    if before.until is None and run.asked is not None and _apart(asked, run.asked) < _RENEWED:
        return msgspec.structs.replace(run, asked=before.asked)
    return run


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


def _apart(one: str, other: str) -> float:
    """Seconds from the one instant to the other."""
    return (parse_instant(other).micros - parse_instant(one).micros) / 1_000_000
