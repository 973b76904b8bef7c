"""Step 2 of the write protocol: which arrivals of a segment are events, and which repeat one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pik.domain.arrivals import Arrival
from pik.domain.errors import NoSuchObject, Tampered
from pik.domain.instants import Instant
from pik.domain.retention import is_expired
from pik.domain.segments import SegmentHead, SegmentID
from pik.execution.capture.answers import Item
from pik.execution.capture.landing import Landing
from pik.execution.capture.settings import CaptureSettings
from pik.execution.capture.winners import Winner, Winners
from pik.execution.concurrency import all_of
from pik.execution.retrying import until_answered
from pik.execution.stream import Stream
from pik.ports.index import Reservation

_READS = 8  # segments that are read at once


class Again(Exception):
    """The index has moved to a newer generation: start again at step 1."""


@dataclass(slots=True)
class Decisions:
    """By event id. `winners`: None where this segment's row is the event, else the winner that was met.
    `failed`: cannot be decided, since the segment that may hold the event is damaged. What is in neither is
    left: it cannot be decided while this segment holds other reservations."""

    winners: dict[str, Winner | None] = field(default_factory=dict)
    failed: dict[str, Tampered] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether this segment holds a reservation."""
        return any(winner is None for winner in self.winners.values())

    def knows(self, event_id: str) -> bool:
        return event_id in self.winners or event_id in self.failed


class Deciding:
    """What one writer knows of other writers' segments, and of its own that it gave up."""

    def __init__(self, stream: Stream, settings: CaptureSettings, landing: Landing) -> None:
        self._stream = stream
        self._settings = settings
        self._landing = landing
        self._winners = Winners(stream, settings)
        self._abandoned: set[SegmentID] = set()

    def abandon(self, segment: SegmentID) -> None:
        """It is ours and was given up: nobody is going to PUT it, so nobody has to wait for it."""
        self._abandoned.add(segment)

    async def decide(self, head: SegmentHead, groups: dict[str, list[Item]]) -> Decisions:
        """Decides what can be decided. Raises `Again` and what the ports raise."""
        stream, patience = self._stream, self._settings.patience
        wanted = [
            _reservation(group[0].arrival, head.segment, row) for row, group in enumerate(groups.values())
        ]
        met = await until_answered(stream.clock, patience, lambda: stream.index.reserve(wanted))
        began = stream.clock.now().micros
        decisions = Decisions()
        others: list[tuple[Reservation, Reservation]] = []
        for ours, found in zip(wanted, met, strict=True):
            if found is None or found.segment == head.segment:
                decisions.winners[ours.event_id] = None
            else:
                others.append((ours, found))
        await self._read_ahead(others)
        absent: list[tuple[Reservation, Reservation]] = []
        for ours, found in others:
            missing = await self._settle(ours, found, decisions)
            if missing is not None:
                absent.append((ours, missing))
        for ours, missing in absent:
            voids = groups[ours.event_id][0].voids
            await self._outwait(
                ours, missing, self._settings.void_wait * 2 ** min(voids, 6), began, decisions
            )
        return decisions

    async def _read_ahead(self, others: list[tuple[Reservation, Reservation]]) -> None:
        """Reads the segments that hold the events several at a time: one by one, a storm of repeats would
        take longer than others wait for this segment."""
        live = {found.segment for ours, found in others if not self._is_dead(found, ours)}
        calls: list[Callable[[], object]] = [partial(self._winners.read_ahead, segment) for segment in live]
        await all_of(calls, _READS)  # type: ignore[arg-type]

    async def _settle(
        self, ours: Reservation, found: Reservation, decisions: Decisions
    ) -> Reservation | None:
        """Decides an event whose entry was met, if that can be done at once; else the entry whose segment
        is absent. One that is expiring stays undecided: it is left to a segment that is stamped later."""
        stream = self._stream
        while True:
            if found.generation > ours.generation:
                raise Again
            if self._is_expiring(found, ours):
                return None
            if not self._is_dead(found, ours):
                try:
                    winner = await self._winners.look(found.segment, ours.event_id)
                except NoSuchObject:
                    return found
                except Tampered as error:
                    decisions.failed[ours.event_id] = error
                    return None
                if winner is not None:
                    decisions.winners[ours.event_id] = winner
                    return None
            now_there = await until_answered(
                stream.clock, self._settings.patience, partial(stream.index.take_over, ours, found)
            )
            if now_there is None or now_there.segment == ours.segment:
                decisions.winners[ours.event_id] = None
                return None
            found = now_there

    async def _outwait(
        self, ours: Reservation, found: Reservation, patience: float, began: int, decisions: Decisions
    ) -> None:
        """Waits for another writer's segment longer than a PUT takes, and longer after each void suffered,
        looking with growing pauses; then takes its key with a void and looks again. What was absent when
        this segment `began` (microseconds) has been waited for since then, so that several are waited for
        together. Never waits while this segment holds reservations: two writers that wait for each other
        would deadlock; the event is left then.
        """
        clock = self._stream.clock
        absent: Reservation | None = found
        while absent is not None:
            seen = absent.segment
            pause = patience / 64
            while seen not in self._abandoned:
                left = patience - (clock.now().micros - began) / 1_000_000
                if left <= 0:
                    break
                if decisions.holds:
                    return
                await clock.sleep(min(pause, left))
                pause *= 2
                absent = await self._settle(ours, absent, decisions)
                if absent is None or absent.segment != seen:
                    break
            if absent is not None and absent.segment == seen:
                if self._is_expiring(absent, ours):
                    return  # it landed, and its object is gone: nothing else may lie at its key
                await self._landing.void(seen)
                self._abandoned.discard(seen)
                absent = await self._settle(ours, absent, decisions)
            began = clock.now().micros  # whatever is absent now has its own time

    def _is_dead(self, found: Reservation, ours: Reservation) -> bool:
        """An entry of an earlier generation is worth nothing even if its segment landed: that came too late
        to count. One past retention may have lost its object, and the event with it."""
        return found.generation < ours.generation or self._has_expired(found, _stamp(ours.segment))

    def _is_expiring(self, found: Reservation, ours: Reservation) -> bool:
        """Whether it is past retention now, and was not when our segment was stamped. The event cannot be
        accepted anew in our segment: a reader of shortly before would see it in both."""
        return (
            found.generation == ours.generation
            and self._has_expired(found, self._stream.clock.now())
            and not self._has_expired(found, _stamp(ours.segment))
        )

    def _has_expired(self, entry: Reservation, at: Instant) -> bool:
        return is_expired(_stamp(entry.segment), self._stream.retention_days, at)


def _stamp(segment: SegmentID) -> Instant:
    return Instant(segment.stamp_millis * 1000)


def _reservation(arrival: Arrival, segment: SegmentID, row: int) -> Reservation:
    return Reservation(
        arrival.event_id,
        arrival.fingerprint,
        segment,
        row,
        segment.generation,
        arrival.entity_id,
        arrival.event_time,
    )
