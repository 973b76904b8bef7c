"""Steps 4 and 5 of the write protocol: the segment, then its manifest row, never side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import sha256

import msgspec

from pik.domain.arrivals import Row
from pik.domain.columns import Columns
from pik.domain.errors import AlreadyExists, Fenced, NoSuchTable, NotReady, Unavailable
from pik.domain.instants import Instant
from pik.domain.layout import segment_id
from pik.domain.segments import SegmentEntry, SegmentHead, SegmentID
from pik.execution.capture.settings import CaptureSettings
from pik.execution.concurrency import all_of
from pik.execution.generations import newest_record
from pik.execution.ownership import check_epoch
from pik.execution.reading.describe import describe_columns, describe_rows, known_from
from pik.execution.retrying import until_answered
from pik.execution.stream import Stream

_PARQUET = "application/vnd.apache.parquet"


class Voided(Exception):
    """Another writer put a void at the segment's key: each of its events starts again."""


class _Landed(msgspec.Struct, frozen=True):
    """What is known of a segment's object."""

    key: str
    sha256: str
    size: int
    known_from: Instant


class Landing:
    """Names, writes and registers the segments of one writer."""

    def __init__(self, stream: Stream, settings: CaptureSettings) -> None:
        self._stream = stream
        self._settings = settings
        self._last_stamp = 0

    def stamp(self) -> Instant:
        """The ingest time of a segment, taken when its rows are chosen. Stamps of one writer only grow, so
        that its own arrivals are ordered as they came."""
        self._last_stamp = max(self._stream.clock.now().micros, self._last_stamp + 1)
        return Instant(self._last_stamp)

    def head(self, stamp: Instant, generation: int) -> SegmentHead:
        """The head of a segment with an id that was never used before."""
        identity = segment_id(stamp, self._stream.entropy.hex(20), generation)
        return SegmentHead(self._stream.layout.stream_id, identity, stamp)

    async def land(
        self, head: SegmentHead, rows: Sequence[Row], encoded: bytes | None = None
    ) -> SegmentEntry:
        """PUTs the segment (step 4), which may have been `encoded` before. Raises `Voided`, or `Unavailable`
        after voiding our own key, so that what was given up cannot land later."""
        body = encoded
        if body is None:
            body = await self._stream.offload(self._stream.codec.encode, head, rows)
        landed = await self._put(head, body)
        return describe_rows(head, rows, **msgspec.structs.asdict(landed))

    async def land_columns(self, head: SegmentHead, arrivals: Columns) -> SegmentEntry:
        """The same of a segment in which nothing was decided."""
        body = await self._stream.offload(self._stream.codec.encode_columns, head, arrivals)
        landed = await self._put(head, body)
        return describe_columns(head, arrivals, **msgspec.structs.asdict(landed))

    async def _put(self, head: SegmentHead, body: bytes) -> _Landed:
        stream, settings = self._stream, self._settings
        key = stream.layout.segment(head.segment)

        async def put(content: bytes) -> Instant | None:
            """By when this content had landed at the key, in S3's own time; None: another one is there."""
            try:
                return await stream.objects.create(key, content, _PARQUET)
            except AlreadyExists:
                there = await stream.objects.read(key)
                return there.last_modified if there.body == content else None

        try:
            landed = await until_answered(stream.clock, settings.patience, lambda: put(body))
        except Unavailable:
            void = await stream.offload(stream.codec.encode, head, [])
            if await put(void) is not None:
                raise
            landed = await put(body)
        if landed is None:
            raise Voided(key)
        known = await self._known_from(head, key, landed)
        return _Landed(key, sha256(body).hexdigest(), len(body), known)

    async def _known_from(self, head: SegmentHead, key: str, landed: Instant) -> Instant:
        """By S3's clock alone, as whoever rebuilds the index judges it. `landed` is when it answered; only
        where that is late is the object's own LastModified looked up."""
        if known_from(head.ingest_time, landed, self._settings.settle) == head.ingest_time:
            return head.ingest_time
        info = await until_answered(
            self._stream.clock, self._settings.patience, lambda: self._stream.objects.stat(key)
        )
        return known_from(head.ingest_time, info.last_modified, self._settings.settle)

    async def register(self, entry: SegmentEntry) -> bool:
        """Writes the manifest row (step 5). False: the index moved on without this segment, so that nothing
        in it may be answered and all of its events start again.

        Where the newer generation's record lists the segment, it counts for good and the rebuilding process
        writes its manifest row: then its rows stand. Raises `NotReady` while that record is not there yet,
        and `OwnershipConflict` where another cluster has taken the stream over.
        """
        stream = self._stream
        generation = entry.segment.generation
        # side by side: the segment has landed, and counts whether its row is there or not
        calls = (lambda: check_epoch(stream), lambda: stream.index.put_segment(entry, generation))
        try:
            await all_of(
                [partial(until_answered, stream.clock, self._settings.patience, c) for c in calls], 2
            )
        except NoSuchTable as error:
            raise NotReady("the index table is gone: run `pik reindex`") from error
        except Fenced as error:
            record = await until_answered(
                stream.clock, self._settings.patience, lambda: newest_record(stream)
            )
            if record is None or record.number <= generation:
                raise NotReady("the index is being rebuilt") from error
            return entry.segment in record.counting
        return True

    async def void(self, segment: SegmentID) -> None:
        """Takes another writer's key, so that its segment cannot land any more; it may have landed."""
        head = SegmentHead(self._stream.layout.stream_id, segment, Instant(segment.stamp_millis * 1000))
        body = await self._stream.offload(self._stream.codec.encode, head, [])
        key = self._stream.layout.segment(segment)

        async def put() -> None:
            try:
                await self._stream.objects.create(key, body, _PARQUET)
            except AlreadyExists:
                return

        await until_answered(self._stream.clock, self._settings.patience, put)
