"""Why an event is what it is: `pik explain`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from pik.domain.arrivals import Arrival, Outcome
from pik.domain.differences import Difference, payload_differences
from pik.domain.instants import Instant
from pik.domain.segments import parse_segment_id
from pik.execution.capture.winners import Sameness
from pik.execution.explain.aggregates import AggregateUse, aggregates_of
from pik.execution.explain.arrivals import Candidates, PlacedArrival, arrivals_of, check_prefix
from pik.execution.explain.replays import OpenRun, ReplayUse, replays_of
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.stream import Deduplication, Stream

CANDIDATES = 20


class Part(StrEnum):
    """What an arrival is to its event."""

    EVENT = "event"  # the arrival that won: its payload is what is replayed and aggregated
    DUPLICATE = "duplicate"  # said the same again
    CONFLICT = "conflict"  # said something else under the same id
    REPLAYED = "replayed"  # came back from a replay of pik
    UNDECIDED = "undecided"  # its event is not in what is retained


class ExplainedArrival(msgspec.Struct, frozen=True):
    """One arrival, as it was received. `differences` from the event, the event's value first."""

    part: Part
    key: str  # of the segment's object
    row: int
    outcome: str  # as stored
    ingest_time: Instant
    received_time: Instant | None
    event_time: Instant
    event_time_text: str  # the producer's own
    source: str
    event_type: str
    entity_id: str
    idempotency_key: str | None
    payload: str  # the producer's own text
    payload_sha256: str
    fingerprint: str
    attributes: str | None
    replay_of: str | None  # run id
    winner: str | None  # key of the segment that was said to hold the event, when this arrived
    differences: tuple[Difference, ...]


class Explanation(msgspec.Struct, frozen=True):
    """All that is known of one event at `as_of`. `event`: which of the arrivals it is."""

    event_id: str
    as_of: Instant
    arrivals: tuple[ExplainedArrival, ...]  # in order of arrival
    event: int | None
    reason: str  # why that one
    replays: tuple[ReplayUse, ...]
    open_runs: tuple[OpenRun, ...]  # that may have sent it
    aggregates: tuple[AggregateUse, ...]


async def explain(stream: Stream, prefix: str, candidates: int = CANDIDATES) -> Explanation | Candidates:
    """The event whose id begins so, or at most `candidates` where it is not one event; none where there is
    none.

    Reads the stream as it is now. Raises ValueError for what begins no event id, and `Incomplete`,
    `Tampered`, `NoSuchObject`, `NotReady` and `NoSuchTable` where not everything could be read.
    """
    check_prefix(prefix)
    now = stream.clock.now()
    snapshot = await take_snapshot(stream, now=now)
    found = await arrivals_of(stream, snapshot, prefix, candidates)
    if isinstance(found, Candidates):
        return found
    event, reason = _winner(found, stream.deduplication)
    event_id = found[0].arrival.event_id
    replays, open_runs = await replays_of(stream, event_id, {placed.arrival.entity_id for placed in found})
    aggregates = await aggregates_of(stream, event_id, [placed.arrival.event_time for placed in found])
    return Explanation(
        event_id=event_id,
        as_of=now,
        arrivals=tuple(_explained(stream, found, place, event) for place in range(len(found))),
        event=event,
        reason=reason,
        replays=tuple(replays),
        open_runs=tuple(open_runs),
        aggregates=tuple(aggregates),
    )


def _winner(found: Sequence[PlacedArrival], deduplication: Deduplication) -> tuple[int | None, str]:
    """Which arrival is the event, and why (design: Write protocol; Definitions, first arrival)."""
    if deduplication is Deduplication.ON_WRITE:
        accepted = [n for n, placed in enumerate(found) if placed.row.outcome is Outcome.ACCEPTED]
        if not accepted:
            return None, "none of these arrivals was accepted: the event itself is not in what is retained"
        return accepted[0], "it was the first to be durable in a segment, and was answered ACCEPTED"
    events = [
        n for n, placed in enumerate(found) if placed.row.outcome in (Outcome.RECORDED, Outcome.REPLAYED)
    ]
    if not events:
        return None, "none of these arrivals can be the event"
    if len(events) == 1:
        return events[0], "it is the only arrival"
    return events[0], f"it is the first of {len(events)} arrivals by ingest time, segment and row"


def _explained(
    stream: Stream, found: Sequence[PlacedArrival], place: int, event: int | None
) -> ExplainedArrival:
    placed = found[place]
    arrival = placed.arrival
    first = None if event is None else found[event].arrival
    winner = placed.row.winner
    return ExplainedArrival(
        part=Part.EVENT if place == event else _part(placed, first, stream.fingerprint_exclude),
        key=stream.layout.segment(parse_segment_id(placed.segment)),
        row=placed.row.row,
        outcome=placed.row.outcome.value,
        ingest_time=placed.ingest_time,
        received_time=arrival.received_time,
        event_time=arrival.event_time,
        event_time_text=arrival.event_time_text,
        source=arrival.source,
        event_type=arrival.event_type,
        entity_id=arrival.entity_id,
        idempotency_key=arrival.idempotency_key,
        payload=arrival.data.decode(),
        payload_sha256=arrival.payload_sha256,
        fingerprint=arrival.fingerprint,
        attributes=arrival.attributes,
        replay_of=arrival.replay_of,
        winner=None if winner is None else stream.layout.segment(parse_segment_id(winner)),
        differences=() if first is None else _differences(first, arrival, stream.fingerprint_exclude),
    )


def _part(placed: PlacedArrival, first: Arrival | None, exclude: tuple[str, ...]) -> Part:
    outcome = placed.row.outcome
    if outcome is Outcome.REPLAYED:
        return Part.REPLAYED
    if outcome in (Outcome.DUPLICATE, Outcome.CONFLICT):
        return Part.DUPLICATE if outcome is Outcome.DUPLICATE else Part.CONFLICT
    if first is None:
        return Part.UNDECIDED
    return Part.DUPLICATE if Sameness(first, exclude).is_repeated_by(placed.arrival) else Part.CONFLICT


def _differences(first: Arrival, other: Arrival, exclude: tuple[str, ...]) -> tuple[Difference, ...]:
    sides = (
        ("event_type", first.event_type, other.event_type),
        ("entity_id", first.entity_id, other.entity_id),
        ("event_time", first.event_time.exact_text, other.event_time.exact_text),
    )
    envelope = [Difference(name, one, two) for name, one, two in sides if one != two]
    return (*envelope, *payload_differences(first.data, other.data, exclude))
