"""What lies behind a reservation that a writer met (step 2 of the write protocol)."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.identity import canonical
from pik.domain.segments import SegmentID
from pik.execution.capture.settings import CaptureSettings
from pik.execution.retrying import until_answered
from pik.execution.stream import Stream

_KEPT_ROWS = 100_000


class Winner(msgspec.Struct, frozen=True, gc=False):
    """The event that an arrival turned out to be a repeat of, and the segment that holds it."""

    arrival: Arrival
    segment: SegmentID


class Winners:
    """Reads segments for the events they hold, and remembers: a segment that landed never changes."""

    def __init__(self, stream: Stream, settings: CaptureSettings) -> None:
        self._stream = stream
        self._settings = settings
        self._seen: OrderedDict[SegmentID, dict[str, Row]] = OrderedDict()
        self._rows = 0

    async def look(self, segment: SegmentID, event_id: str) -> Winner | None:
        """The event if the segment landed with it, None if it landed without (a void, for one).

        Raises `NoSuchObject` where the segment has not landed.
        """
        events = self._seen.get(segment)
        if events is None:
            events = await self._read(segment)
        else:
            self._seen.move_to_end(segment)
        row = events.get(event_id)
        return None if row is None else Winner(row.arrival, segment)

    async def _read(self, segment: SegmentID) -> dict[str, Row]:
        stream = self._stream
        key = stream.layout.segment(segment)
        stored = await until_answered(stream.clock, self._settings.patience, lambda: stream.objects.read(key))
        _, rows = await stream.offload(stream.codec.decode, stored.body)
        events = {row.arrival.event_id: row for row in rows if row.outcome is Outcome.ACCEPTED}
        self._seen[segment] = events
        self._rows += len(events)
        while self._rows > _KEPT_ROWS and len(self._seen) > 1:
            _, dropped = self._seen.popitem(last=False)
            self._rows -= len(dropped)
        return events


def same_event(first: Arrival, other: Arrival, exclude: tuple[str, ...]) -> bool:
    """Whether an arrival under a known id repeats the event: equal fingerprints, or payloads that differ in
    spelling only (key order, white space, escapes; number lexemes untouched)."""
    if first.fingerprint == other.fingerprint:
        return True
    return (
        first.event_type == other.event_type
        and first.entity_id == other.entity_id
        and first.event_time == other.event_time
        and canonical(first.data, exclude) == canonical(other.data, exclude)
    )
