"""Orphans: segments that count and have no manifest row, because their writer died in between (design:
Storage, Orphans). A timer indexes them; every snapshot does so for what it reads."""

from __future__ import annotations

from functools import partial

import msgspec

from pik.domain.errors import Fenced, NoSuchObject, NotReady, Tampered
from pik.domain.instants import Instant
from pik.domain.retention import is_expired
from pik.domain.segments import SegmentEntry, SegmentID, newest_rule
from pik.execution.concurrency import all_of
from pik.execution.generations import newest_record, ready_generation
from pik.execution.reading.describe import SETTLE, describe_segment
from pik.execution.retrying import Patience, until_answered
from pik.execution.stream import Stream

_PATIENCE = Patience()


class OrphansIndexed(msgspec.Struct, frozen=True):
    """`indexed`: the new manifest rows, voids among them. `unreadable`: objects that are no segments, and
    why; `pik verify` says more of them."""

    listed: int  # segments in the bucket
    indexed: tuple[SegmentEntry, ...]
    unreadable: tuple[str, ...]


async def index_orphans(
    stream: Stream, since: Instant | None = None, *, settle: float = SETTLE, concurrency: int = 8
) -> OrphansIndexed:
    """Gives every segment that counts, is retained, and was stamped from the hour of `since` on (default:
    all) its manifest row. Idempotent, and harmless beside writers and other repairs.

    `settle`: seconds that a segment may land after its stamp and still be known from it. Raises `NotReady`
    while the index is being rebuilt or if that begins meanwhile, and `NoSuchTable`.
    """
    indexed = {entry.segment async for entry in stream.index.segments(since)}
    there = await _listed(stream, since)
    if there <= indexed:
        return OrphansIndexed(len(there), (), ())
    state = await until_answered(stream.clock, _PATIENCE, lambda: ready_generation(stream))
    record = await until_answered(stream.clock, _PATIENCE, lambda: newest_record(stream))
    if record is None or record.number != state.number:
        raise NotReady(f"the index of {stream.namespace}/{stream.name} is being rebuilt")
    rule = newest_rule(record)
    listed = {segment for segment in there if rule.counts(segment)}

    async def index(segment: SegmentID) -> SegmentEntry | str | None:
        try:
            entry = await _describe(stream, segment, settle)
        except NoSuchObject:
            return None  # it expired meanwhile
        except Tampered as error:
            return str(error)
        await until_answered(stream.clock, _PATIENCE, lambda: stream.index.put_segment(entry, state.number))
        return entry

    try:
        done = await all_of([partial(index, segment) for segment in sorted(listed - indexed)], concurrency)
    except Fenced as error:
        raise NotReady(f"the index of {stream.namespace}/{stream.name} is being rebuilt") from error
    return OrphansIndexed(
        listed=len(listed),
        indexed=tuple(entry for entry in done if isinstance(entry, SegmentEntry)),
        unreadable=tuple(reason for reason in done if isinstance(reason, str)),
    )


async def _listed(stream: Stream, since: Instant | None) -> set[SegmentID]:
    """The segments in the bucket that are retained, from the hour of `since` on."""
    now = stream.clock.now()
    start = "" if since is None else stream.layout.hour(since.to_datetime())
    segments = set()
    async for info in stream.objects.list(stream.layout.raw, start_after=start):
        try:
            segment = stream.layout.segment_of(info.key)
        except ValueError:
            continue  # a stranger: `pik verify` names it
        stamp = Instant(segment.stamp_millis * 1000)
        if not is_expired(stamp, stream.retention_days, now):
            segments.add(segment)
    return segments


async def _describe(stream: Stream, segment: SegmentID, settle: float) -> SegmentEntry:
    key = stream.layout.segment(segment)
    stored = await until_answered(stream.clock, _PATIENCE, lambda: stream.objects.read(key))
    return await stream.offload(
        describe_segment, key, stored.body, stream.codec, stored.last_modified, settle
    )
