"""What lies behind a reservation that a writer met (step 2 of the write protocol)."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from pik.domain.arrivals import Arrival, Outcome, size_of
from pik.domain.errors import NoSuchObject, Tampered
from pik.domain.identity import canonical
from pik.domain.segments import SegmentID
from pik.execution.capture.settings import CaptureSettings
from pik.execution.retrying import until_answered
from pik.execution.stream import Stream

_KEPT_BYTES = 64 * 1024 * 1024  # of the arrivals that are remembered


class Winner(msgspec.Struct, frozen=True, gc=False):
    """The event that an arrival turned out to be a repeat of, and the segment that holds it."""

    arrival: Arrival
    segment: SegmentID


class Winners:
    """Reads segments for the events they hold, and remembers: a segment that landed never changes."""

    def __init__(self, stream: Stream, settings: CaptureSettings) -> None:
        self._stream = stream
        self._settings = settings
        self._seen: OrderedDict[SegmentID, dict[str, Arrival]] = OrderedDict()
        self._bytes = 0

    async def look(self, segment: SegmentID, event_id: str) -> Winner | None:
        """The event if the segment landed with it, None if it landed without (a void, for one).

        Raises `NoSuchObject` where the segment has not landed, and `Tampered` naming it where it is none.
        """
        events = self._seen.get(segment)
        if events is None:
            events = await self._read(segment)
        else:
            self._seen.move_to_end(segment)
        arrival = events.get(event_id)
        return None if arrival is None else Winner(arrival, segment)

    async def read_ahead(self, segment: SegmentID) -> None:
        """So that a later look finds it remembered. What is absent or damaged is told then."""
        if segment not in self._seen:
            try:
                await self._read(segment)
            except (NoSuchObject, Tampered):
                return

    async def _read(self, segment: SegmentID) -> dict[str, Arrival]:
        stream = self._stream
        key = stream.layout.segment(segment)
        stored = await until_answered(stream.clock, self._settings.patience, lambda: stream.objects.read(key))
        try:
            _, rows = await stream.offload(stream.codec.decode, stored.body)
        except Tampered as error:
            raise Tampered(f"{key}: {error}") from error
        events = {row.arrival.event_id: row.arrival for row in rows if row.outcome is Outcome.ACCEPTED}
        if segment not in self._seen:
            self._bytes += sum(map(size_of, events.values()))
        self._seen[segment] = events
        while self._bytes > _KEPT_BYTES and len(self._seen) > 1:
            _, dropped = self._seen.popitem(last=False)
            self._bytes -= sum(map(size_of, dropped.values()))
        return events


class Sameness:
    """Whether arrivals under a known id repeat the event: equal fingerprints, or payloads that differ in
    spelling only (key order, white space, escapes; number lexemes untouched)."""

    def __init__(self, event: Arrival, exclude: tuple[str, ...]) -> None:
        self._event = event
        self._exclude = exclude
        self._canonical: bytes | None = None

    def is_repeated_by(self, other: Arrival) -> bool:
        event = self._event
        if event.fingerprint == other.fingerprint:
            return True
        if (event.event_type, event.entity_id, event.event_time) != (
            other.event_type,
            other.entity_id,
            other.event_time,
        ):
            return False
        if self._canonical is None:
            self._canonical = canonical(event.data, self._exclude)
        return self._canonical == canonical(other.data, self._exclude)
