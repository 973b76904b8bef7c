"""Snapshots: exactly which segments a plan reads (design: Reading).

The manifest is compared with a listing of the bucket, what has landed without a manifest row is described
from its bytes, and the index's generation is read again at the end, so that no rebuild went on underneath.
Reading writes nothing (law 8): the timer for orphans gives such segments their manifest row.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256

import msgspec
import orjson

from pik.domain.errors import AlreadyExists, Fenced, Incomplete, NoSuchObject, NotReady, Tampered
from pik.domain.instants import Instant, instant_of
from pik.domain.retention import is_expired
from pik.domain.segments import SegmentEntry, SegmentID, newest_rule, parse_segment_id
from pik.execution.documents import document
from pik.execution.generations import newest_record, ready_generation
from pik.execution.ownership import check_epoch
from pik.execution.reading.describe import SETTLE, describe_segment
from pik.execution.stream import Stream

_ATTEMPTS = 3
_NAMED = 5  # keys that a message names


class Snapshot(msgspec.Struct, frozen=True):
    """The segments that count, are retained, and are known from `as_of` (ingest time) or before."""

    stream_id: str
    as_of: Instant
    generation: int  # of the index, when the snapshot was taken
    segments: tuple[SegmentEntry, ...]  # in order of their ids, voids included

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over the RFC 8785 form of [stream id, [[key, sha256], …]]."""
        named = [[entry.key, entry.sha256] for entry in self.segments]
        return sha256(orjson.dumps([self.stream_id, named])).hexdigest()


class PinnedSegment(msgspec.Struct, frozen=True):
    segment: str
    sha256: str  # of the object's bytes


class Pin(msgspec.Struct, frozen=True):
    """Bucket object `snapshots/<as_of>.json`: what the first use of an `as_of` saw, for all later ones."""

    stream_id: str
    as_of: str
    generation: int
    segments: tuple[PinnedSegment, ...]


async def take_snapshot(
    stream: Stream,
    as_of: Instant | None = None,
    *,
    now: Instant,
    checked_until: Instant | None = None,
    settle: float = SETTLE,
) -> Snapshot:
    """What is known at `as_of` (default: `now`), whole or not at all.

    Every hour of the bucket is compared with the manifest; a caller that has compared the hours before
    `checked_until` and indexed what was missing may leave them out. `settle`: seconds that a segment may
    land after its stamp and still be known from it.

    Raises `Incomplete` naming what is missing or where the index keeps moving, `NotReady` while it is being
    rebuilt, `NoSuchTable` where it is gone, `Tampered` for an unindexed object that is not a segment, and
    `OwnershipConflict` where another cluster has taken the stream over.
    """
    moved: Fenced | None = None
    for _ in range(_ATTEMPTS):
        try:
            return await _take(stream, as_of or now, now, checked_until, settle)
        except Fenced as error:
            moved = error
    raise Incomplete(
        f"the index of {stream.namespace}/{stream.name} kept moving while it was read"
    ) from moved


async def pinned_snapshot(stream: Stream, as_of: Instant) -> Snapshot:
    """The one snapshot that every reader of this `as_of` gets: the first takes and stores it.

    Raises what `take_snapshot` does, `NotReady` for an `as_of` that is still to come, `Incomplete` where a
    pinned segment has expired or is gone, and `Tampered` where one has other bytes now.
    """
    now = stream.clock.now()
    if as_of > now:
        raise NotReady(f"what is known at {as_of.exact_text} is not settled yet: it is {now.text}")
    key = stream.layout.snapshot(as_of.exact_text)
    try:
        stored = await stream.objects.read(key)
    except NoSuchObject:
        taken = await take_snapshot(stream, as_of, now=now)
        try:
            await stream.objects.create(key, msgspec.json.encode(_pin(taken)))
        except AlreadyExists:
            stored = await stream.objects.read(key)
        else:
            return taken
    return await _unpin(stream, document(key, stored.body, Pin), as_of, now)


async def _take(
    stream: Stream, as_of: Instant, now: Instant, checked_until: Instant | None, settle: float
) -> Snapshot:
    state = await ready_generation(stream)
    record = await newest_record(stream)
    if record is None or (record.number, record.nonce) != (state.number, state.nonce):
        raise Fenced(f"the index is of generation {state.number}, and that is not the newest record's")
    rule = newest_rule(record)
    since = _first_retained(stream, now)

    def matters(segment: SegmentID) -> bool:
        stamp = Instant(segment.stamp_millis * 1000)
        expired = is_expired(stamp, stream.retention_days, now)
        return stamp <= as_of and rule.counts(segment) and not expired

    # The manifest before the listing: a row is written after its object, so each row's object is listed.
    manifest = {e.segment: e async for e in stream.index.segments(since) if matters(e.segment)}
    listed = await _listed(stream, max(filter(None, (since, checked_until)), default=None))
    found = {segment for segment in listed if matters(segment)}
    expected = {
        segment
        for segment in manifest.keys() | set(filter(matters, record.counting))
        if checked_until is None or segment.stamp_millis >= _hour_millis(checked_until)
    }
    if gone := expected - found:
        raise Incomplete("segments that count are gone: " + _some(stream, gone))
    for segment in sorted(found - manifest.keys()):
        manifest[segment] = await _described(stream, segment, settle)
    if await stream.index.generation() != state:
        raise Fenced(f"the index moved on from generation {state.number} while it was read")
    # another cluster takes the stream over before it decides which segments count
    await check_epoch(stream)
    known = [entry for entry in manifest.values() if entry.known_from <= as_of]
    known.sort(key=lambda entry: entry.segment)
    return Snapshot(stream.layout.stream_id, as_of, state.number, tuple(known))


def _first_retained(stream: Stream, now: Instant) -> Instant | None:
    """The start of the first ingest date that is retained. None: everything is."""
    if stream.retention_days is None:
        return None
    midnight = now.to_datetime().replace(hour=0, minute=0, second=0, microsecond=0)
    return instant_of(midnight - timedelta(days=stream.retention_days))


async def _listed(stream: Stream, since: Instant | None) -> set[SegmentID]:
    """The segments in the bucket from the hour of `since` on."""
    start = "" if since is None else stream.layout.hour(since.to_datetime())
    segments = set()
    async for info in stream.objects.list(stream.layout.raw, start_after=start):
        try:
            segments.add(stream.layout.segment_of(info.key))
        except ValueError:
            continue  # not ours: capture writes nothing but segments, `pik verify` names strangers
    return segments


async def _described(stream: Stream, segment: SegmentID, settle: float = SETTLE) -> SegmentEntry:
    key = stream.layout.segment(segment)
    try:
        stored = await stream.objects.read(key)
    except NoSuchObject as error:
        raise Incomplete(f"a segment is gone: {key}") from error
    return await stream.offload(
        describe_segment, key, stored.body, stream.codec, stored.last_modified, settle
    )


def _pin(snapshot: Snapshot) -> Pin:
    return Pin(
        snapshot.stream_id,
        snapshot.as_of.exact_text,
        snapshot.generation,
        tuple(PinnedSegment(str(entry.segment), entry.sha256) for entry in snapshot.segments),
    )


async def _unpin(stream: Stream, pin: Pin, as_of: Instant, now: Instant) -> Snapshot:
    pinned = {parse_segment_id(segment.segment): segment.sha256 for segment in pin.segments}
    expired = {
        segment
        for segment in pinned
        if is_expired(Instant(segment.stamp_millis * 1000), stream.retention_days, now)
    }
    if expired:
        raise Incomplete(f"segments known at {as_of.exact_text} have expired: " + _some(stream, expired))
    manifest = {e.segment: e async for e in stream.index.segments() if e.segment in pinned}
    for segment in sorted(pinned.keys() - manifest.keys()):
        manifest[segment] = await _described(stream, segment)
    for segment, digest in pinned.items():
        if manifest[segment].sha256 != digest:
            raise Tampered(f"{stream.layout.segment(segment)} is not what it was when {pin.as_of} was pinned")
    return Snapshot(pin.stream_id, as_of, pin.generation, tuple(manifest[s] for s in sorted(pinned)))


def _hour_millis(instant: Instant) -> int:
    """The start of the instant's hour, as a segment's stamp."""
    return instant.micros // 3_600_000_000 * 3_600_000


def _some(stream: Stream, segments: set[SegmentID]) -> str:
    keys = [stream.layout.segment(segment) for segment in sorted(segments)]
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more
