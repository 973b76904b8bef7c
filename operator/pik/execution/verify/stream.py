"""A stream's raw data against the chain of seals, the manifest and the index (`pik verify`)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

from pik.domain.errors import NoSuchObject, NoSuchTable, Tampered, Unavailable
from pik.domain.instants import Instant
from pik.domain.retention import is_expired
from pik.domain.segments import CountingRule, SegmentID, parse_segment_id
from pik.execution.concurrency import all_of
from pik.execution.reading.describe import SETTLE
from pik.execution.retrying import Patience, until_answered
from pik.execution.seals import SealHead
from pik.execution.stream import Deduplication, Stream
from pik.execution.verify.chain import Chain, read_chain
from pik.execution.verify.events import Abandoned, Events, difference, in_batches
from pik.execution.verify.expected import (
    Manifest,
    check_generation,
    check_owner,
    read_manifest,
    read_rule,
)
from pik.execution.verify.findings import Checked, Finding, Kind, RowSpan, Verification
from pik.execution.verify.segment import SegmentCheck, SegmentResult, Witness

_PATIENCE = Patience()


async def verify(
    stream: Stream,
    progress: Callable[[int, int], None] = lambda *_: None,
    *,
    settle: float = SETTLE,
    concurrency: int = 4,
    owner: str | None = None,
    kept: SealHead | None = None,
) -> Verification:
    """Reads everything that is retained and holds it against what was recorded of it. Nothing is changed.

    `progress`: segments done and in all. `settle`: seconds that a segment may land after its stamp and still
    be known from it; what landed so recently may not be indexed yet. `concurrency`: segments in memory.
    `owner`: whose the stream is (`str(Claimant)`), as far as is known elsewhere. `kept`: a seal that an
    earlier verification named and that was kept elsewhere.

    What could not be read makes the result incomplete, and is named in it. Raises `Unavailable` where the
    bucket or the index cannot be listed at all, and `NoSuchBucket`.
    """
    chain = await read_chain(stream, kept)
    records = await read_rule(stream, chain)
    rule = records.rule
    # The manifest before the listing: a row is written after its object, so each row's object is listed.
    manifest = await read_manifest(stream)
    findings = [
        *chain.findings,
        *await check_owner(stream, chain, owner),
        *records.findings,
        *await check_generation(stream, records, manifest),
        *manifest.findings,
    ]
    verifier = _Verifier(stream, chain, manifest, rule, settle, progress)
    try:
        await verifier.segments(concurrency)
        if stream.deduplication is Deduplication.ON_WRITE:
            await verifier.events()
    finally:
        verifier.close()
    gaps = [*verifier.unread]
    if manifest.gap is not None:
        gaps.insert(0, manifest.gap)
    if rule is None:
        gaps.insert(0, "there is no generation record: nothing says which segments count")
    return Verification(
        stream_id=stream.layout.stream_id,
        findings=(*findings, *verifier.findings),
        checked=Checked(
            seals=chain.seals,
            generations=records.count,
            manifest_rows=len(manifest.entries),
            **verifier.counts,
        ),
        unread=tuple(gaps),
        head=chain.head,
    )


class _Verifier:
    """One verification under way."""

    def __init__(
        self,
        stream: Stream,
        chain: Chain,
        manifest: Manifest,
        rule: CountingRule | None,
        settle: float,
        progress: Callable[[int, int], None],
    ) -> None:
        self.findings: list[Finding] = []
        self.unread: list[str] = []
        self.counts: Counter[str] = Counter()  # by field of Checked
        self._stream = stream
        self._chain = chain
        self._manifest = manifest
        self._rule = rule
        self._progress = progress
        self._now = stream.clock.now()
        self._recent = Instant(self._now.micros - round(settle * 1_000_000))
        self._check = SegmentCheck(stream.layout, stream.codec, stream.fingerprint_exclude, settle)
        self._events = Events() if stream.deduplication is Deduplication.ON_WRITE else None
        self._one_at_a_time = asyncio.Lock()
        self._unknown: set[str] = set()  # segments whose rows could not all be read
        self._done = 0

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    # segments

    async def segments(self, concurrency: int) -> None:
        stream = self._stream
        listed: set[str] = set()
        async for info in stream.objects.list(stream.layout.raw):
            listed.add(info.key)
        counting = {stream.layout.segment(segment) for segment in (self._rule.earlier if self._rule else ())}
        keys = sorted(listed | counting | self._chain.sealed.keys() | self._manifest.entries.keys())
        self._progress(0, len(keys))
        found = await all_of(
            [partial(self._segment, key, key in listed, len(keys)) for key in keys], concurrency
        )
        self.findings += [finding for findings in found for finding in findings]

    async def _segment(self, key: str, there: bool, total: int) -> list[Finding]:
        findings = await self._one(key, there)
        self._done += 1
        self._progress(self._done, total)
        return findings

    async def _one(self, key: str, there: bool) -> list[Finding]:
        try:
            segment = self._stream.layout.segment_of(key)
        except ValueError as error:
            return [Finding(Kind.FOREIGN, key, str(error))]
        witness = Witness(self._chain.sealed.get(key), self._manifest.entries.get(key))
        if is_expired(Instant(segment.stamp_millis * 1000), self._stream.retention_days, self._now):
            self.counts["expired"] += 1
            return []
        counts = self._rule is None or self._rule.counts(segment)
        self.counts["uncounted"] += there and not counts
        if not counts and witness.sealed is None and witness.entry is None:
            return []
        if not there:
            return [self._missing(key, witness)]
        try:
            stored = await until_answered(
                self._stream.clock, _PATIENCE, lambda: self._stream.objects.read(key)
            )
        except NoSuchObject:
            return [self._missing(key, witness)]
        except Unavailable as error:
            self._unknown.add(str(segment))
            self.unread.append(f"{key}: {error}")
            return []
        result = await self._stream.offload(
            self._check.check, key, stored.body, stored.last_modified, witness
        )
        if not counts:
            self._unknown.add(str(segment))
            said = (
                "it counted when it was sealed"
                if witness.sealed
                else "the manifest has it as one that counts"
            )
            return [*result.findings, Finding(Kind.UNCOUNTED, key, f"{said}, and does not")]
        if result.rows is None:
            self._unknown.add(str(segment))
        elif self._events is not None:
            async with self._one_at_a_time:
                await self._stream.offload(self._events.add, segment, result.rows)
        self._count(witness, result)
        if witness.entry is None and self._manifest.gap is None and result.rows != ():
            return [*result.findings, self._unindexed(key, segment, stored.last_modified)]
        return list(result.findings)

    def _count(self, witness: Witness, result: SegmentResult) -> None:
        rows = len(result.rows) if result.rows is not None else witness.entry.rows if witness.entry else 0
        self.counts["segments"] += 1
        self.counts["voids"] += result.rows == ()
        self.counts["sealed"] += witness.sealed is not None
        self.counts["rows"] += rows
        self.counts["bytes"] += result.bytes

    def _missing(self, key: str, witness: Witness) -> Finding:
        self._unknown.add(str(self._stream.layout.segment_of(key)))
        entry = witness.entry
        lost = f", and {entry.rows} rows with it" if entry is not None else ""
        return Finding(
            Kind.OBJECT_MISSING,
            key,
            f"the object is gone{lost}",
            rows=RowSpan(0, entry.rows - 1, numbered=False) if entry is not None and entry.rows else None,
            expected=witness.sha256,
        )

    def _unindexed(self, key: str, segment: SegmentID, landed: Instant) -> Finding:
        if max(landed, Instant(segment.stamp_millis * 1000)) >= self._recent:
            return Finding(Kind.ORPHAN, key, "it landed a moment ago and has no manifest row yet")
        return Finding(Kind.UNINDEXED, key, "it counts and has no manifest row: readers may not see it")

    # events

    async def events(self) -> None:
        events = self._events
        if events is None:
            return
        for event_id, segments in await self._stream.offload(events.accepted_twice):
            self.findings.append(
                Finding(
                    Kind.REPEATED,
                    self._key(segments[-1]),
                    f"the event was accepted {len(segments)} times, first in {self._key(segments[0])}",
                    event_id=event_id,
                )
            )
        for event_id, winner, segment, row in await self._stream.offload(events.repeats_of_nothing):
            if winner is None or not self._excused(winner):
                self.findings.append(
                    Finding(
                        Kind.WINNER_MISSING,
                        self._key(segment),
                        "a repeat of an event that is not where the row says",
                        rows=RowSpan(row, row),
                        columns=("winner",),
                        found=winner,
                        event_id=event_id,
                    )
                )
        if self._manifest.gap is None:
            await self._index(events)

    async def _index(self, events: Events) -> None:
        """The index's entries. Each was there before its segment was listed."""
        stream, manifest = self._stream, self._manifest
        try:
            async for entries in in_batches(stream.index.entries()):
                await stream.offload(events.add_entries, entries)
            state = await until_answered(stream.clock, _PATIENCE, stream.index.generation)
        except NoSuchTable:
            self.unread.append("the index table went away while its entries were read")
            return
        except Tampered as error:
            self.findings.append(Finding(Kind.INDEX_CONTRADICTS, self._record, str(error)))
            self.unread.append(f"the index's entries were not read to their end: {error}")
            return
        if state != manifest.state:
            self.unread.append("the index was rebuilt while its entries were read: verify again")
            return
        self.counts["index_entries"] = await stream.offload(events.entries)
        for event, entry, generation in events.contradicted(manifest.generation):
            self.findings.append(difference(self._key(event.segment), event, entry, generation))
        for left in await stream.offload(events.abandoned):
            self._left(left)

    def _left(self, left: Abandoned) -> None:
        """Entries without an event, of one segment."""
        segment = parse_segment_id(left.segment)
        stamp = Instant(segment.stamp_millis * 1000)
        if left.segment in self._unknown or is_expired(stamp, self._stream.retention_days, self._now):
            return  # nothing can be said of what it held
        event_id = left.event_id if left.entries == 1 else None
        what = "an index entry" if left.entries == 1 else f"{left.entries} index entries"
        if not segment.generation <= left.generation <= self._manifest.generation:
            message = f"{what} of generation {left.generation}, which no writer has made: {left.event_id}"
            kind = Kind.INDEX_CONTRADICTS
        elif stamp >= self._recent:
            return  # it may be about to land
        else:
            self.counts["abandoned"] += left.entries
            message, kind = f"{what} without an event: a reservation that came to nothing", Kind.ABANDONED
        self.findings.append(Finding(kind, self._key(left.segment), message, event_id=event_id))

    @property
    def _record(self) -> str:
        """The newest generation record: what stands for the index as a whole."""
        return self._stream.layout.generation(self._manifest.generation)

    def _excused(self, segment: str) -> bool:
        """Whether nothing can be said of what a segment held: expired, gone, or not readable."""
        stamp = Instant(parse_segment_id(segment).stamp_millis * 1000)
        return segment in self._unknown or is_expired(stamp, self._stream.retention_days, self._now)

    def _key(self, segment: str) -> str:
        return self._stream.layout.segment(parse_segment_id(segment))
