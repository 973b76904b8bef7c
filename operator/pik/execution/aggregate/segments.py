"""Which segments of a snapshot an aggregate reads."""

from __future__ import annotations

from pik.domain.segments import SegmentEntry
from pik.domain.windows import Window
from pik.execution.reading.snapshot import Snapshot
from pik.execution.stream import Deduplication, Stream
from pik.planning.definitions import Definition


def segments_to_read(stream: Stream, definition: Definition, snapshot: Snapshot) -> list[SegmentEntry]:
    """Those that may decide what is in the window. Where reading decides which arrival is the event, that is
    all: the first arrival of an event in the window may have another event time."""
    if stream.deduplication is Deduplication.ON_READ:
        return [entry for entry in snapshot.segments if entry.rows]
    window = definition.span
    return [entry for entry in snapshot.segments if _may_hold(window, entry)]


def _may_hold(window: Window, entry: SegmentEntry) -> bool:
    """Whether events of a segment may be in the window, by its manifest row."""
    times = entry.event_time
    return times is not None and times.first < window.end and times.last >= window.start
