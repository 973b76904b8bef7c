"""Rebuilding the index from raw alone (design: Write protocol, Reindex); it also makes a new stream ready."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256

import msgspec

from pik.domain.arrivals import Outcome, Row
from pik.domain.errors import AlreadyExists, DataLost, Fenced, NoSuchObject, NotReady, Tampered
from pik.domain.instants import Instant
from pik.domain.retention import is_expired
from pik.domain.segments import GenerationRecord, SegmentID
from pik.execution.documents import document
from pik.execution.generations import newest_record
from pik.execution.ownership import check_epoch
from pik.execution.reading.describe import SETTLE, describe_rows, known_from
from pik.execution.retrying import Patience, until_answered
from pik.execution.seals import newest_seal, remember
from pik.execution.stream import Deduplication, Stream
from pik.ports.index import Reservation

_BATCH = 1_000


class Reindexed(msgspec.Struct, frozen=True):
    """What a reindex did."""

    generation: int
    segments: int
    events: int  # ACCEPTED or RECORDED rows of the segments that count
    arrivals: int  # all rows
    missing: tuple[str, ...]  # keys of segments that count and are gone


async def reindex(
    stream: Stream,
    ensure_table: Callable[[], Awaitable[None]],
    progress: Callable[[int, int], None] = lambda *_: None,
    attempts: int = 5,
) -> Reindexed:
    """Makes the index of the next generation from raw, and lets writers in when it is whole.

    Raises `NotReady` where other reindexers keep coming in between, `Tampered` where an object that counts
    is not the segment of its key (naming it), `DataLost` where there are segments and no record of which of
    them count, `OwnershipConflict` where another cluster has taken the stream over, and `Unavailable`;
    started again it begins anew and harms nothing.
    """
    for _ in range(attempts):
        try:
            return await _build(stream, ensure_table, progress)
        except Fenced:
            continue
    raise NotReady(f"other processes keep rebuilding the index of {stream.namespace}/{stream.name}")


async def _build(
    stream: Stream, ensure_table: Callable[[], Awaitable[None]], progress: Callable[[int, int], None]
) -> Reindexed:
    patience = Patience()
    nonce = stream.entropy.hex(32)
    newest = await until_answered(stream.clock, patience, lambda: newest_record(stream))
    # after that reading: whoever takes the stream over later makes a record of the same number or a later
    await until_answered(stream.clock, patience, lambda: check_epoch(stream))
    number = newest.number + 1 if newest else 1
    await until_answered(stream.clock, patience, ensure_table)
    await until_answered(stream.clock, patience, lambda: stream.index.fence(number, nonce))
    counting = await until_answered(stream.clock, patience, lambda: _counting(stream, newest))
    record = GenerationRecord(number, nonce, tuple(counting))
    await until_answered(stream.clock, patience, lambda: _create(stream, record))
    events = arrivals = 0
    missing = []
    # The latest first: where an event expired and was accepted again, the later acceptance is the event.
    for done, segment in enumerate(reversed(counting)):
        progress(done, len(counting))
        rows = await _rebuild(stream, record, segment, patience)
        if rows is None:
            missing.append(stream.layout.segment(segment))
            continue
        events += sum(row.outcome in (Outcome.ACCEPTED, Outcome.RECORDED) for row in rows)
        arrivals += len(rows)
    progress(len(counting), len(counting))
    if newest is not None:  # before the first record nothing is sealed
        await remember(stream, await until_answered(stream.clock, patience, lambda: newest_seal(stream)))
    await until_answered(stream.clock, patience, lambda: stream.index.set_ready(number, nonce))
    return Reindexed(number, len(counting), events, arrivals, tuple(missing))


async def _counting(stream: Stream, newest: GenerationRecord | None) -> list[SegmentID]:
    """The segments that count from before the next record: the newest record's own list, but for what is
    past retention, and those of its generation that have landed. What is in the list and gone stays in it:
    a removed object must not be forgotten because the index was rebuilt."""
    now = stream.clock.now()
    counting = {
        segment
        for segment in (newest.counting if newest else ())
        if not is_expired(_stamp(segment), stream.retention_days, now)
    }
    generation = newest.number if newest else 0
    async for info in stream.objects.list(stream.layout.raw):
        segment = _segment_of(stream, info.key)
        if segment is None or is_expired(_stamp(segment), stream.retention_days, now):
            continue
        if newest is None:
            raise DataLost(
                f"{info.key} is there, but no record of which segments count: generations/ is gone"
            )
        if segment.generation == generation:
            counting.add(segment)
    return sorted(counting)


def _stamp(segment: SegmentID) -> Instant:
    return Instant(segment.stamp_millis * 1000)


def _segment_of(stream: Stream, key: str) -> SegmentID | None:
    """None for what somebody else put there, a console's folder marker, say: `pik verify` names it."""
    try:
        return stream.layout.segment_of(key)
    except ValueError:
        return None


async def _create(stream: Stream, record: GenerationRecord) -> None:
    key = stream.layout.generation(record.number)
    try:
        await stream.objects.create(key, msgspec.json.encode(record))
    except AlreadyExists as error:
        stored = await stream.objects.read(key)
        if document(key, stored.body, GenerationRecord).nonce != record.nonce:
            raise Fenced(f"another reindex made generation {record.number}") from error


async def _rebuild(
    stream: Stream, record: GenerationRecord, segment: SegmentID, patience: Patience
) -> list[Row] | None:
    """The manifest row and the index entries of one segment. None where its object is gone."""
    key = stream.layout.segment(segment)
    try:
        stored = await until_answered(stream.clock, patience, lambda: stream.objects.read(key))
    except NoSuchObject:
        return None
    try:
        head, rows = await stream.offload(stream.codec.decode, stored.body)
    except Tampered as error:
        raise Tampered(f"{key}: {error}") from error
    if (head.segment, head.stream_id) != (segment, stream.layout.stream_id):
        raise Tampered(f"{key}: it says that it is segment {head.segment} of stream {head.stream_id}")
    entry = describe_rows(
        head,
        rows,
        key=key,
        sha256=sha256(stored.body).hexdigest(),
        size=len(stored.body),
        known_from=known_from(head.ingest_time, stored.last_modified, SETTLE),
    )
    await until_answered(
        stream.clock,
        patience,
        lambda: stream.index.rebuild_segment(entry, record.number, record.nonce),
    )
    if stream.deduplication is Deduplication.ON_WRITE:
        winners = [
            Reservation(
                row.arrival.event_id,
                row.arrival.fingerprint,
                segment,
                row.row,
                record.number,
                row.arrival.entity_id,
                row.arrival.event_time,
            )
            for row in rows
            if row.outcome is Outcome.ACCEPTED
        ]
        for start in range(0, len(winners), _BATCH):
            batch = winners[start : start + _BATCH]
            await until_answered(
                stream.clock,
                patience,
                lambda batch=batch: stream.index.put_winners(batch),  # type: ignore[misc]
            )
    return rows
