"""The write protocol of streams that decide on write (design: Write protocol, steps 1 to 6).

The decision comes before the segment and is stored in it, and S3 is the arbiter: an index entry without its
landed row is a reservation and worth nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.errors import NoSuchObject, NoSuchTable, NotReady, Unavailable
from pik.domain.instants import Instant
from pik.domain.retention import is_expired
from pik.domain.segments import SegmentHead, SegmentID
from pik.execution.capture.answers import Answer, Attempt, Item, Status
from pik.execution.capture.landing import Landing, Voided
from pik.execution.capture.settings import CaptureSettings
from pik.execution.capture.winners import Winner, Winners, same_event
from pik.execution.generations import ready_generation
from pik.execution.retrying import until_answered
from pik.execution.stream import Stream
from pik.ports.index import GenerationState, Reservation


class _Again(Exception):
    """The index has moved to a newer generation: start again at step 1."""


class OnWrite:
    """One writer of an `OnWrite` stream."""

    def __init__(self, stream: Stream, settings: CaptureSettings, landing: Landing) -> None:
        self._stream = stream
        self._settings = settings
        self._landing = landing
        self._winners = Winners(stream, settings)
        self._abandoned: set[SegmentID] = set()  # ours, given up: nobody is going to PUT them

    async def commit(self, items: Sequence[Item], stamp: Instant) -> Attempt:
        """Answers what one segment can decide. Nothing is answered before it is durable and indexed.

        Raises `Unavailable` and `NotReady`: then nothing was answered, and what may have been written is
        found again by whoever sends the events again.
        """
        head: SegmentHead | None = None
        try:
            generation = (await self._generation()).number
            head = self._landing.head(stamp, generation)
            return await self._fill(head, items)
        except NoSuchTable as error:
            raise NotReady("the index table is gone: run `pik reindex`") from error
        except Unavailable:
            if head is not None:
                self._abandoned.add(head.segment)
            raise
        except (_Again, Voided) as turn:
            return Attempt([], [item.again(voided=isinstance(turn, Voided)) for item in items])

    async def _fill(self, head: SegmentHead, items: Sequence[Item]) -> Attempt:
        """Steps 2 to 6 for one segment. Raises `_Again` and `Voided`: then all of it starts again."""
        groups = _by_event(items)
        decided, left = await self._decide(head, groups)
        if (await self._generation()).number != head.segment.generation:
            raise _Again
        rows, answers = self._rows(head, groups, decided)
        if not rows:
            return Attempt([], left)
        entry = await self._landing.land(head, rows)
        if not await self._landing.register(entry):
            raise _Again
        return Attempt(answers, left)

    async def _generation(self) -> GenerationState:
        return await until_answered(
            self._stream.clock, self._settings.patience, lambda: ready_generation(self._stream)
        )

    async def _decide(
        self, head: SegmentHead, groups: dict[str, list[Item]]
    ) -> tuple[dict[str, Winner | None], list[Item]]:
        """Step 2. By event id: None where this segment's row is the event, else the winner that was met;
        and the items that cannot be decided while this segment holds other reservations."""
        wanted = [
            _reservation(group[0].arrival, head.segment, row) for row, group in enumerate(groups.values())
        ]
        met = await until_answered(
            self._stream.clock, self._settings.patience, lambda: self._stream.index.reserve(wanted)
        )
        decided: dict[str, Winner | None] = {}
        others: list[tuple[Reservation, Reservation]] = []
        for ours, found in zip(wanted, met, strict=True):
            if found is None or found.segment == head.segment:
                decided[ours.event_id] = None
            else:
                others.append((ours, found))
        unresolved: list[tuple[Reservation, Reservation]] = []
        for ours, found in others:
            absent = await self._settle(ours, found, decided)
            if absent is not None:
                unresolved.append((ours, absent))
        # Waiting while holding reservations would deadlock two writers that wait for each other.
        holds = any(winner is None for winner in decided.values())
        if not holds:
            for ours, found in unresolved:
                if await self._outwait(ours, found, groups[ours.event_id][0].voids, decided):
                    break
        left = [
            item.left_over()
            for ours, _ in unresolved
            if ours.event_id not in decided
            for item in groups[ours.event_id]
        ]
        return decided, left

    async def _settle(
        self, ours: Reservation, found: Reservation, decided: dict[str, Winner | None]
    ) -> Reservation | None:
        """Decides an event whose entry was met, if that can be done at once; else the entry whose segment
        is absent."""
        stream = self._stream
        while True:
            if found.generation > ours.generation:
                raise _Again
            if not self._is_dead(found, ours):
                try:
                    winner = await self._winners.look(found.segment, ours.event_id)
                except NoSuchObject:
                    return found
                if winner is not None:
                    decided[ours.event_id] = winner
                    return None
            seen = found
            now_there = await until_answered(
                stream.clock,
                self._settings.patience,
                lambda seen=seen: stream.index.take_over(ours, seen),  # type: ignore[misc]
            )
            if now_there is None or now_there.segment == ours.segment:
                decided[ours.event_id] = None
                return None
            found = now_there

    async def _outwait(
        self, ours: Reservation, found: Reservation, voids: int, decided: dict[str, Winner | None]
    ) -> bool:
        """Waits for another writer's segment longer than a PUT takes, and longer after each void suffered,
        looking with growing pauses; then takes its key with a void and looks again. True once this segment
        holds a reservation."""
        absent: Reservation | None = found
        while absent is not None:
            patience = self._settings.void_wait * 2 ** min(voids, 6)
            pause = patience / 64
            seen = absent.segment
            while absent is not None and absent.segment == seen and seen not in self._abandoned:
                if patience <= 0:
                    break
                await self._stream.clock.sleep(pause)
                patience -= pause
                pause = min(pause * 2, patience)
                absent = await self._settle(ours, absent, decided)
            if absent is not None and absent.segment == seen:
                await self._landing.void(seen)
                self._abandoned.discard(seen)
                absent = await self._settle(ours, absent, decided)
        return decided[ours.event_id] is None

    def _is_dead(self, found: Reservation, ours: Reservation) -> bool:
        """An entry of an earlier generation is worth nothing even if its segment landed: that came too late
        to count. One past retention may have lost its object, and the event with it."""
        stamp = Instant(found.segment.stamp_millis * 1000)
        expired = is_expired(stamp, self._stream.retention_days, self._stream.clock.now())
        return found.generation < ours.generation or expired

    def _rows(
        self, head: SegmentHead, groups: dict[str, list[Item]], decided: dict[str, Winner | None]
    ) -> tuple[list[Row], list[tuple[Item, Answer]]]:
        """The segment's rows and the answers they stand for. The first item of a group has the row that was
        reserved; the repeats within this segment come after all of those."""
        key = self._stream.layout.segment(head.segment)
        rows: list[Row] = []
        answers: list[tuple[Item, Answer]] = []
        repeats = len(groups)
        for first, (event_id, group) in enumerate(groups.items()):
            if event_id not in decided:
                continue
            met = decided[event_id]
            winner = met or Winner(group[0].arrival, head.segment)
            for position, item in enumerate(group):
                number = first if position == 0 else repeats
                repeats += position > 0
                outcome = Outcome.ACCEPTED if met is None and position == 0 else self._outcome(winner, item)
                accepted = outcome is Outcome.ACCEPTED
                rows.append(Row(number, item.arrival, outcome, None if accepted else str(winner.segment)))
                answers.append(
                    (
                        item,
                        Answer(
                            Status(outcome.value),
                            event_id,
                            (head.ingest_time.micros - item.arrival.event_time.micros) // 1000,
                            key,
                            number,
                            None if accepted else self._stream.layout.segment(winner.segment),
                        ),
                    )
                )
        return rows, answers

    def _outcome(self, winner: Winner, item: Item) -> Outcome:
        if item.arrival.replay_of is not None:
            return Outcome.REPLAYED
        same = same_event(winner.arrival, item.arrival, self._stream.fingerprint_exclude)
        return Outcome.DUPLICATE if same else Outcome.CONFLICT


def _by_event(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Items by event id, in order of the first of each: the same id may come twice in one segment."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.arrival.event_id, []).append(item)
    return groups


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
