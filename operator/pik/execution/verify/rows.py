"""Rows against their own hashes: what in a row contradicts what."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from hashlib import sha256
from typing import Final

import msgspec

from pik.domain.arrivals import Arrival
from pik.domain.identity import event_id, fingerprint
from pik.domain.instants import Instant


class Unread(Enum):
    """In place of a value that cannot be read."""

    UNREAD = "unread"


UNREAD: Final = Unread.UNREAD


class Cells(msgspec.Struct, frozen=True, gc=False):
    """What could be read of an arrival: the columns that its hashes cover."""

    event_id: str | Unread
    source: str | Unread
    event_type: str | Unread
    entity_id: str | Unread
    event_time: Instant | Unread
    idempotency_key: str | Unread | None
    payload_sha256: str | Unread
    fingerprint: str | Unread
    data: bytes | Unread


COVERED = frozenset(Cells.__struct_fields__) | {"event_time_rest"}


class Contradiction(msgspec.Struct, frozen=True, gc=False):
    """Two sides of a hash that differ. `columns`: one of these is wrong. `expected`: what the row itself
    says; `found`: what its other columns give."""

    columns: tuple[str, ...]
    expected: str
    found: str


def contradictions(row: Arrival | Cells, exclude: tuple[str, ...]) -> Iterator[Contradiction]:
    """Recomputes payload hash, fingerprint and event id from what they are made of, as far as that was read.
    `exclude`: the stream's `fingerprint.exclude`. A hash that two others bear out is not the wrong one."""
    payload = None if row.data is UNREAD else sha256(row.data).hexdigest()
    content = _content(row, exclude)
    columns: tuple[str, ...]
    payload_differs = _differ(row.payload_sha256, payload)
    content_differs = _differ(row.fingerprint, content)
    if payload_differs and content_differs:
        yield Contradiction(("data",), str(row.payload_sha256), str(payload))
    elif payload_differs:
        borne_out = content == row.fingerprint and not exclude
        columns = ("payload_sha256",) if borne_out else ("data", "payload_sha256")
        yield Contradiction(columns, str(row.payload_sha256), str(payload))
    elif content_differs:
        if _event_id(row, content) == row.event_id and row.idempotency_key is None:
            yield Contradiction(("fingerprint",), str(row.fingerprint), str(content))
            return  # the event id is right, and says so
        columns = ("event_type", "entity_id", "event_time", "event_time_rest")
        if row.payload_sha256 is UNREAD:
            columns += ("data",)
        if row.idempotency_key is not None or _event_id(row, row.fingerprint) != row.event_id:
            columns += ("fingerprint",)
        yield Contradiction(columns, str(row.fingerprint), str(content))
    identity = _event_id(row, row.fingerprint)
    if _differ(row.event_id, identity):
        columns = ("event_id", "source", "idempotency_key")
        if row.idempotency_key is None:
            columns += ("fingerprint",)
        yield Contradiction(columns, str(row.event_id), str(identity))


def _differ(stored: str | Unread, computed: str | None) -> bool:
    return computed is not None and stored is not UNREAD and stored != computed


def _content(row: Arrival | Cells, exclude: tuple[str, ...]) -> str | None:
    if row.event_type is UNREAD or row.entity_id is UNREAD or row.event_time is UNREAD or row.data is UNREAD:
        return None
    try:
        return fingerprint(row.event_type, row.entity_id, row.event_time, row.data, exclude)
    except (ValueError, OverflowError, RecursionError):
        return "none: not a payload, or not a time"


def _event_id(row: Arrival | Cells, content: str | Unread | None) -> str | None:
    if row.source is UNREAD or row.idempotency_key is UNREAD or content is UNREAD or content is None:
        return None
    return event_id(row.source, row.idempotency_key, content)
