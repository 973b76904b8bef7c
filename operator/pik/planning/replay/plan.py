"""The plan of a replay: which events are sent, and in which order, under one hash (design: Definitions)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

import msgspec
import rfc8785

from pik.api.replay_job import Duplicates, TimeField
from pik.domain.arrivals import Outcome
from pik.domain.segments import SegmentEntry, TimeRange
from pik.domain.shapes import Shapes
from pik.planning.replay.spec import ReplaySpec

SELECTION_SEMANTICS = 1
"""Raised whenever the same fields over the same segments would select other events or another order."""


class Measure(msgspec.Struct, frozen=True):
    """What the exact dry run counted."""

    matched: int  # events in the slice, after the limit
    bytes: int  # of their payloads
    first_event_time: str | None  # fixed-width text; None of an empty slice
    last_event_time: str | None
    repeats: int | None  # arrivals of these events that are left out; None: not counted (read by the index)
    stale: int  # entities whose newest event is not in the slice
    largest: int = 0  # bytes of the largest payload; 0: not known (a plan of an earlier release)


class PlannedSegment(msgspec.Struct, frozen=True):
    """A segment as the plan's hash names it."""

    key: str
    sha256: str


class ReplayPlan(msgspec.Struct, frozen=True):
    """Bucket object `runs/<run id>/plans/<hash>.json`. `stale_entities`: only where they are skipped."""

    hash: str
    run_id: str
    stream_id: str
    spec: ReplaySpec
    as_of: str
    generation: int
    semantics: int
    segments: tuple[PlannedSegment, ...]  # of the snapshot
    reads: tuple[SegmentEntry, ...]  # those that a shard opens
    measure: Measure
    stale_entities: tuple[str, ...]
    shapes: Shapes | None = None  # of the payloads of `reads`; None: not known (a plan of an earlier release)


def plan_hash(
    spec: ReplaySpec,
    stream_id: str,
    as_of: str,
    segments: Iterable[PlannedSegment],
    semantics: int = SELECTION_SEMANTICS,
) -> str:
    """SHA-256 (hex) of the RFC 8785 form of all that determines the events and their order; no estimate, no
    pace."""
    named = [[segment.key, segment.sha256] for segment in segments]
    return sha256(
        rfc8785.dumps(["pik/1", "plan", semantics, stream_id, as_of, spec.canonical, named])
    ).hexdigest()


def verify_plan(plan: ReplayPlan) -> bool:
    """Whether a stored plan still has the content that its hash was made of."""
    return plan.hash == plan_hash(plan.spec, plan.stream_id, plan.as_of, plan.segments, plan.semantics)


def may_hold(spec: ReplaySpec, entry: SegmentEntry) -> bool:
    """Whether a segment can hold events of the slice, by its manifest row."""
    return (
        maybe_events(entry) > 0
        and _overlaps(spec, entry)
        and (spec.sources is None or not entry.sources_complete or bool({*spec.sources} & {*entry.sources}))
        and (
            spec.event_types is None
            or not entry.event_types_complete
            or bool({*spec.event_types} & {*entry.event_types})
        )
    )


def holds_repeats(spec: ReplaySpec, entry: SegmentEntry) -> bool:
    """Whether a segment can hold repeats, of a stream that decides on write: its time ranges say nothing of
    them."""
    if entry.outcomes.get(Outcome.DUPLICATE, 0) == 0:
        return False
    return spec.time_field is TimeField.EVENT_TIME or _overlaps(spec, entry)


def segments_to_read(
    spec: ReplaySpec, segments: Sequence[SegmentEntry], *, on_read: bool
) -> list[SegmentEntry]:
    """The segments that decide the slice, by the manifest alone.

    Where the first arrival is decided on reading, an earlier arrival may lie in any segment up to the last
    that can hold the slice, whatever its event time.
    """
    holding = [entry for entry in segments if may_hold(spec, entry)]
    if not on_read:
        if spec.duplicates is Duplicates.ALL:
            holding += [e for e in segments if holds_repeats(spec, e) and not may_hold(spec, e)]
        return sorted(holding, key=lambda entry: entry.segment)
    if not holding:
        return []
    last = max(entry.ingest_time for entry in holding)
    return [entry for entry in segments if maybe_events(entry) > 0 and entry.ingest_time <= last]


def may_hold_newer(spec: ReplaySpec, entry: SegmentEntry) -> bool:
    """Whether a segment can hold an event newer than one of the slice, by its manifest row."""
    if entry.event_time is None:
        return False
    return spec.time_field is TimeField.INGEST_TIME or entry.event_time.last >= spec.window.start


def may_be_stale(spec: ReplaySpec, condition: str | None, segments: Sequence[SegmentEntry]) -> bool:
    """Whether an entity of the slice can have a newer event outside it, by the manifest: one after the
    window, unless something else leaves events out."""
    if spec.time_field is TimeField.INGEST_TIME or condition is not None or spec.limit is not None:
        return True
    if spec.sources is not None or spec.event_types is not None:
        return True
    return any(e.event_time is not None and e.event_time.last >= spec.window.end for e in segments)


def maybe_events(entry: SegmentEntry) -> int:
    """Rows that are events, or may be by the first-arrival rule."""
    return entry.events + entry.outcomes.get(Outcome.REPLAYED, 0)


def window_range(spec: ReplaySpec, entry: SegmentEntry) -> TimeRange | None:
    """The range of the segment's rows in the time that the window is of."""
    if spec.time_field is TimeField.INGEST_TIME:
        return TimeRange(entry.ingest_time, entry.ingest_time)
    return entry.event_time


def _overlaps(spec: ReplaySpec, entry: SegmentEntry) -> bool:
    span = window_range(spec, entry)
    window = spec.window
    return span is not None and span.first < window.end and window.start <= span.last
