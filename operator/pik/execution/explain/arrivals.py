"""Every arrival of an event, from the segments themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.instants import Instant
from pik.execution.reading.files import local_files
from pik.execution.reading.relation import connect, open_arrivals
from pik.execution.reading.snapshot import Snapshot
from pik.execution.stream import Stream

_EVENT_ID_DIGITS = 64
_PREFIX = re.compile(r"[0-9a-f]{1,64}")
_COLUMNS = """
    segment, epoch_us(ingest_time), row, outcome, winner, event_id, source, event_type, entity_id,
    epoch_us(event_time), event_time_rest, event_time_text, epoch_us(received_time), received_time_rest,
    idempotency_key, payload_sha256, fingerprint, data, attributes, replay_of
"""


class PlacedArrival(msgspec.Struct, frozen=True):
    """An arrival and where it lies. `segment` is `str(SegmentID)`."""

    segment: str
    ingest_time: Instant
    row: Row

    @property
    def arrival(self) -> Arrival:
        return self.row.arrival


class Candidate(msgspec.Struct, frozen=True):
    """An event whose id begins as was asked."""

    event_id: str
    source: str
    event_type: str
    entity_id: str
    event_time: Instant
    arrivals: int


class Candidates(msgspec.Struct, frozen=True):
    """The first of `matching` events, in order of their ids."""

    prefix: str
    matching: int
    events: tuple[Candidate, ...]


def check_prefix(prefix: str) -> None:
    """Raises ValueError for what is not the beginning of an event id."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"an event id is {_EVENT_ID_DIGITS} digits of 0-9a-f, or its beginning: {prefix!r}")


async def arrivals_of(
    stream: Stream, snapshot: Snapshot, prefix: str, limit: int
) -> Candidates | list[PlacedArrival]:
    """The arrivals of the one event whose id begins so, in order of (ingest time, segment, row); candidates
    where that is no single event. Raises `Tampered` and `Incomplete`, naming the object."""
    files = await local_files(stream, snapshot)
    return await stream.offload(_find, files, prefix, limit)


def _find(files: Sequence[Path], prefix: str, limit: int) -> Candidates | list[PlacedArrival]:
    with closing(connect()) as con:
        open_arrivals(con, files)
        event_id = prefix
        if len(prefix) < _EVENT_ID_DIGITS:
            candidates = _candidates(con, prefix, limit)
            if candidates.matching != 1:
                return candidates
            event_id = candidates.events[0].event_id
        # a constant, so that Bloom filters spare the segments that cannot hold it
        rows = con.execute(
            f"SELECT {_COLUMNS} FROM arrivals WHERE event_id = '{event_id}' ORDER BY arrival"  # noqa: S608 - hex
        ).fetchall()
        return [_placed(*row) for row in rows] or Candidates(prefix, 0, ())


def _candidates(con: duckdb.DuckDBPyConnection, prefix: str, limit: int) -> Candidates:
    rows = con.execute(
        """
        SELECT event_id, arg_min(source, arrival), arg_min(event_type, arrival), arg_min(entity_id, arrival),
            epoch_us(arg_min(event_time, arrival)), arg_min(event_time_rest, arrival), count(*),
            count(*) OVER ()
        FROM arrivals WHERE event_id >= $first AND event_id < $last
        GROUP BY event_id ORDER BY event_id LIMIT $limit
        """,
        {"first": prefix, "last": prefix + "g", "limit": limit},  # g comes after the last hex digit
    ).fetchall()
    events = tuple(
        Candidate(event_id, source, event_type, entity_id, Instant(micros, rest), arrivals)
        for event_id, source, event_type, entity_id, micros, rest, arrivals, _ in rows
    )
    return Candidates(prefix, rows[0][-1] if rows else 0, events)


def _placed(
    segment: str, ingested: int, row: int, outcome: str, winner: str | None, *cells: Any
) -> PlacedArrival:
    return PlacedArrival(segment, Instant(ingested), Row(row, _arrival(*cells), Outcome(outcome), winner))


def _arrival(
    event_id: str,
    source: str,
    event_type: str,
    entity_id: str,
    event_micros: int,
    event_rest: str,
    event_time_text: str,
    received_micros: int | None,
    received_rest: str | None,
    idempotency_key: str | None,
    payload_sha256: str,
    fingerprint: str,
    data: str,
    attributes: str | None,
    replay_of: str | None,
) -> Arrival:
    return Arrival(
        event_id=event_id,
        source=source,
        event_type=event_type,
        entity_id=entity_id,
        event_time=Instant(event_micros, event_rest),
        event_time_text=event_time_text,
        received_time=None if received_micros is None else Instant(received_micros, received_rest or ""),
        idempotency_key=idempotency_key,
        payload_sha256=payload_sha256,
        fingerprint=fingerprint,
        data=data.encode(),
        attributes=attributes,
        replay_of=replay_of,
    )
