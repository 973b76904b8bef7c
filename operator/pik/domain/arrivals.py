"""An arrival: one event as it was received once, and what was decided about it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from pik.domain.instants import Instant

OVERHEAD = 768
"""Bytes: of what holds an arrival's texts, roughly."""


class Outcome(StrEnum):
    """What is stored beside an arrival. ACCEPTED and RECORDED rows are events (of a stream that decides on
    write, and on read); the rest are evidence."""

    ACCEPTED = "ACCEPTED"
    RECORDED = "RECORDED"
    DUPLICATE = "DUPLICATE"
    CONFLICT = "CONFLICT"
    REPLAYED = "REPLAYED"


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """A valid arrival before anything is decided. `data` is the payload's JSON text exactly as received."""

    event_id: str  # 64 hex digits
    source: str
    event_type: str
    entity_id: str
    event_time: Instant
    event_time_text: str  # the producer's own characters
    received_time: Instant | None  # when the source says that it saw the record
    idempotency_key: str | None
    payload_sha256: str  # of data
    fingerprint: str
    data: bytes
    attributes: str | None = None  # JSON object of what was sent beside and has no column of its own
    replay_of: str | None = None  # run id, only where that run is known to exist
    headers: str | None = None  # JSON object of those of its HTTP request that are kept


def size_of(arrival: Arrival) -> int:
    """Bytes that it takes to keep, roughly: its texts and what holds them."""
    texts = len(arrival.data) + len(arrival.attributes or "") + len(arrival.idempotency_key or "")
    texts += len(arrival.headers or "")
    return texts + len(arrival.entity_id) + len(arrival.source) + len(arrival.event_type) + OVERHEAD


class Row(msgspec.Struct, frozen=True, gc=False):
    """An arrival's place and outcome in a segment. Row numbers of a segment are unique and may have holes."""

    row: int
    arrival: Arrival
    outcome: Outcome
    winner: str | None = None  # of DUPLICATE and CONFLICT: the segment id that holds the event


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """Why an input is not an event: `reason` is a stable CamelCase word, `message` is for a person."""

    reason: str
    message: str
