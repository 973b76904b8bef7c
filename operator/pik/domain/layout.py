"""Where a stream's objects lie in its bucket. A prefix belongs to one stream: the owner record says which."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from pik.domain.instants import Instant
from pik.domain.segments import SegmentID, parse_segment_id


class Layout(msgspec.Struct, frozen=True):
    """Keys under `prefix` (empty, or ending with `/`)."""

    prefix: str
    stream_id: str

    @property
    def owner(self) -> str:
        return owner_key(self.prefix)

    @property
    def raw(self) -> str:
        return f"{self.prefix}raw/stream={self.stream_id}/"

    @property
    def generations(self) -> str:
        return f"{self.prefix}generations/"

    @property
    def seals(self) -> str:
        return f"{self.prefix}seals/"

    @property
    def snapshots(self) -> str:
        return f"{self.prefix}snapshots/"

    @property
    def runs(self) -> str:
        return f"{self.prefix}runs/"

    def target(self, place: str) -> str:
        """What is known of a target, by its address."""
        return f"{self.prefix}targets/{sha256(place.encode()).hexdigest()}.json"

    @property
    def hash_key(self) -> str:
        return f"{self.prefix}keys/hash.json"

    @property
    def aggregates(self) -> str:
        return f"{self.prefix}aggregates/"

    @property
    def sources(self) -> str:
        return f"{self.prefix}sources/"

    def generation(self, number: int) -> str:
        return f"{self.generations}{number:08d}.json"

    def seal(self, number: int) -> str:
        return f"{self.seals}{number:08d}.json"

    def snapshot(self, name: str) -> str:
        return f"{self.snapshots}{name}.json"

    def run(self, run_id: str) -> str:
        return f"{self.runs}{run_id}/"

    def hour(self, moment: datetime) -> str:
        """The prefix of the segments stamped in this UTC hour."""
        text = moment.isoformat()  # a tenth of what strftime takes: every listing asks for every segment
        return f"{self.raw}ingest_date={text[:10]}/hour={text[11:13]}/"

    def segment(self, segment: SegmentID) -> str:
        stamped = datetime.fromtimestamp(segment.stamp_millis / 1000, UTC)
        return f"{self.hour(stamped)}{segment}.parquet"

    def segment_of(self, key: str) -> SegmentID:
        """The segment that a raw key names. Raises ValueError for a key that is not a segment's."""
        name = key.rsplit("/", 1)[-1]
        if not key.startswith(self.raw) or not name.endswith(".parquet"):
            raise ValueError(f"not a segment of stream {self.stream_id}: {key!r}")
        segment = parse_segment_id(name.removesuffix(".parquet"))
        if self.segment(segment) != key:
            raise ValueError(f"a segment's name under another hour: {key!r}")
        return segment


def owner_key(prefix: str) -> str:
    return f"{prefix}owner.json"


def segment_id(now: Instant, entropy: str, generation: int) -> SegmentID:
    """A fresh segment id. `entropy`: 20 hex digits, never used before."""
    return SegmentID(f"{now.micros // 1000:012x}{entropy}", generation)


def hours_between(first: Instant, last: Instant) -> list[datetime]:
    """The UTC hours that the two instants lie in and those between, in order."""
    hour = 3_600_000_000
    return [
        datetime.fromtimestamp(number * 3600, UTC)
        for number in range(first.micros // hour, last.micros // hour + 1)
    ]
