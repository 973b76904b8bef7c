"""What a stream holds, counted from its manifest without reading all of it every time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pik.domain.arrivals import Outcome
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry, SegmentID
from pik.ports.index import Index

_HOUR = 3_600_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of the manifest. `events`: ACCEPTED or RECORDED; with first-arrival on reading these include
    repeats."""

    events: int = 0
    duplicates: int = 0
    conflicts: int = 0
    first_ingest: Instant | None = None  # of the first event
    last_ingest: Instant | None = None  # of the newest arrival
    segments: int = 0  # voids too

    def with_segment(self, entry: SegmentEntry) -> Counts:
        if not entry.rows:
            return replace(self, segments=self.segments + 1)  # a void
        outcomes: Mapping[str, int] = entry.outcomes
        first = [time for time in (self.first_ingest,) if time is not None]
        if entry.events:
            first.append(entry.ingest_time)
        last = entry.ingest_time if self.last_ingest is None else max(self.last_ingest, entry.ingest_time)
        return Counts(
            self.events + entry.events,
            self.duplicates + outcomes.get(Outcome.DUPLICATE, 0),
            self.conflicts + outcomes.get(Outcome.CONFLICT, 0),
            min(first, default=None),
            last,
            self.segments + 1,
        )


class Tally:
    """Reads the whole manifest once, and from then on the last hours of it; whole again every `whole_every`
    seconds, since a segment of an earlier hour may be indexed late. `latest`: what it came to."""

    def __init__(self, index: Index, whole_every: float = 86_400.0) -> None:
        self._index = index
        self._whole_every = whole_every
        self._settled = Counts()  # of the hours that are not read again
        self._until: SegmentID | None = None
        self._read_whole: Instant | None = None
        self.latest = Counts()

    def forget(self) -> None:
        """Segments of earlier hours have been indexed: all is read again."""
        self._read_whole = None

    async def count(self, now: Instant) -> Counts:
        """Raises what the index does."""
        whole = self._read_whole is None or now.micros - self._read_whole.micros > self._whole_every * 1e6
        settled, until = (Counts(), None) if whole else (self._settled, self._until)
        horizon = Instant(max(0, now.micros // _HOUR * _HOUR - _HOUR))
        counts = settled
        done = until
        since = None if done is None else Instant(done.stamp_millis * 1_000)
        async for entry in self._index.segments(since):
            if done is not None and entry.segment <= done:
                continue
            counts = counts.with_segment(entry)
            if entry.segment.stamp_millis * 1_000 < horizon.micros:
                settled, until = counts, entry.segment
        self._settled, self._until = settled, until
        if whole:
            self._read_whole = now
        self.latest = counts
        return counts
