"""The slice of a stream that a replay sends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry
from pik.planning.replay.plan import Measure, ReplayPlan
from pik.planning.replay.spec import ReplaySpec


class ReplayEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of a slice; `data` is the payload as it was captured."""

    event_id: str
    source: str
    event_type: str
    entity_id: str
    event_time: Instant
    event_time_text: str
    idempotency_key: str | None
    attributes: str | None
    data: bytes
    segment: str
    row: int
    repeat: bool  # an arrival after the first, with duplicates: All


class Measured(msgspec.Struct, frozen=True):
    """What the exact dry run found."""

    measure: Measure
    reads: tuple[SegmentEntry, ...]  # the segments that decide the slice
    stale_entities: tuple[str, ...]  # whose newest event is not in the slice


class Selector(Protocol):
    """Reads slices of one stream. Raises `Incomplete` where a segment is gone, `Tampered` where one has other
    bytes than it was recorded with, `InvalidExpression` for a condition that is not allowed."""

    async def measure(self, spec: ReplaySpec, segments: Sequence[SegmentEntry]) -> Measured:
        """Counts the slice exactly, over the segments of a snapshot. Sends and writes nothing."""
        ...

    def read(self, plan: ReplayPlan, shard: int, start: int) -> AsyncIterator[Sequence[ReplayEvent]]:
        """The shard's part of the plan in its order, from the event at position `start` on, in pieces. The
        same events at the same positions every time."""
        ...
