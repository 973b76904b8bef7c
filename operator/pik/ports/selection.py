"""The slice of a stream that a replay sends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

import msgspec

from pik.domain.segments import SegmentEntry
from pik.domain.shapes import Shapes
from pik.planning.replay.plan import Measure, ReplayPlan
from pik.planning.replay.spec import ReplaySpec

if TYPE_CHECKING:
    import pyarrow as pa


class Measured(msgspec.Struct, frozen=True):
    """What the exact dry run found."""

    measure: Measure
    reads: tuple[SegmentEntry, ...]  # the segments that decide the slice
    stale_entities: tuple[str, ...]  # whose newest event is not in the slice
    shapes: Shapes | None = None  # of the payloads of these segments


class Selector(Protocol):
    """Reads slices of one stream. Raises `Incomplete` where a segment is gone, `Tampered` where one has other
    bytes than it was recorded with, `InvalidExpression` for a condition that is not allowed."""

    async def measure(self, spec: ReplaySpec, segments: Sequence[SegmentEntry]) -> Measured:
        """Counts the slice exactly, over the segments of a snapshot. Sends and writes nothing."""
        ...

    def read(self, plan: ReplayPlan, shard: int, start: int) -> AsyncIterator[pa.RecordBatch]:
        """The shard's part of the plan in its order, from the event at position `start` on, in pieces that
        have rows, as columns of planning.replay.events. The same events at the same positions every time."""
        ...

    def together(self, plan: ReplayPlan) -> AbstractAsyncContextManager[Selector]:
        """A selector for one who reads several shards of this plan: what they have in common is done once,
        and kept for as long."""
        ...
