"""The write protocol of streams that decide on write (design: Write protocol, steps 1 to 6).

The decision comes before the segment and is stored in it, and S3 is the arbiter: an index entry without its
landed row is a reservation and worth nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pik.domain.arrivals import Outcome, Row
from pik.domain.errors import NoSuchTable, NotReady, Unavailable
from pik.domain.instants import Instant
from pik.domain.segments import SegmentHead
from pik.execution.capture.answers import Answer, Attempt, Item, Status
from pik.execution.capture.deciding import Again, Deciding, Decisions
from pik.execution.capture.landing import Landing, Voided
from pik.execution.capture.settings import CaptureSettings
from pik.execution.capture.winners import Sameness, Winner
from pik.execution.generations import KnownGeneration
from pik.execution.stream import Stream

_SENDING = 0.001  # seconds until reservations are on their way: before, they would wait for the CPU
_Made = tuple[list[Row], list[tuple[Item, Answer]], bytes]
"""A segment's rows, the answers they stand for, and its bytes."""


class OnWrite:
    """One writer of an `OnWrite` stream."""

    def __init__(self, stream: Stream, settings: CaptureSettings, landing: Landing) -> None:
        self._stream = stream
        self._settings = settings
        self._landing = landing
        self._deciding = Deciding(stream, settings, landing)
        self._generation = KnownGeneration(stream, settings.patience)
        self._repeats = False  # whether there were any the last time

    async def commit(self, items: Sequence[Item], stamp: Instant) -> Attempt[Item]:
        """Answers what one segment can decide. Nothing is answered before it is durable and indexed.

        Raises `Unavailable` and `NotReady`: then nothing was answered, and what may have been written is
        found again by whoever sends the events again.
        """
        head: SegmentHead | None = None
        try:
            head = self._landing.head(stamp, await self._generation.known())
            return await self._fill(head, items)
        except NoSuchTable as error:
            raise NotReady("the index table is gone: run `pik reindex`") from error
        except Unavailable:
            if head is not None:
                self._deciding.abandon(head.segment)
            raise
        except (Again, Voided) as turn:
            self._generation.forget()
            return Attempt([], [item.again(voided=isinstance(turn, Voided)) for item in items])

    async def _fill(self, head: SegmentHead, items: Sequence[Item]) -> Attempt[Item]:
        """Steps 2 to 6 for one segment. Raises `Again` and `Voided`: then all of it starts again."""
        groups = _by_event(items)
        guess = self._guess(head, groups)
        try:
            decisions = await self._deciding.decide(head, groups)
            self._repeats = decisions != _all_new(groups)
            if self._repeats and guess is not None:
                guess.cancel()
                guess = None
            rows, answers, body = await self._checked(head, groups, decisions, guess)
        finally:
            if guess is not None:
                guess.cancel()
        attempt: Attempt[Item] = Attempt(
            answers=[],
            left=[item.left_over() for item in items if not decisions.knows(item.arrival.event_id)],
            failed=[
                (item, decisions.failed[item.arrival.event_id])
                for item in items
                if item.arrival.event_id in decisions.failed
            ],
        )
        if not decisions.winners:
            return attempt
        entry = await self._landing.land(head, rows, body)
        if not await self._landing.register(entry):
            raise Again
        attempt.answers.extend((item, (answer,)) for item, answer in answers)
        return attempt

    def _guess(self, head: SegmentHead, groups: dict[str, list[Item]]) -> asyncio.Future[_Made] | None:
        """The segment as it is where nothing is a repeat, made while that is found out. Where repeats came
        the last time it would mostly be for nothing."""
        if self._repeats:
            return None

        async def made() -> _Made:
            await self._stream.clock.sleep(_SENDING)
            return await self._stream.offload(self._segment, head, groups, _all_new(groups))

        return asyncio.ensure_future(made())

    async def _checked(
        self,
        head: SegmentHead,
        groups: dict[str, list[Item]],
        decisions: Decisions,
        guess: asyncio.Future[_Made] | None,
    ) -> _Made:
        """Step 3, and meanwhile what step 4 puts, unless that was made before. Raises `Again`."""

        async def read() -> None:
            if await self._generation.read() != head.segment.generation:
                raise Again

        reading = asyncio.ensure_future(read())
        try:
            made = await (guess or self._stream.offload(self._segment, head, groups, decisions))
            await reading
        finally:
            reading.cancel()
        return made

    def _segment(self, head: SegmentHead, groups: dict[str, list[Item]], decisions: Decisions) -> _Made:
        rows, answers = self._rows(head, groups, decisions)
        return rows, answers, self._stream.codec.encode(head, rows)

    def _rows(
        self, head: SegmentHead, groups: dict[str, list[Item]], decisions: Decisions
    ) -> tuple[list[Row], list[tuple[Item, Answer]]]:
        """The segment's rows and the answers they stand for. The first item of a group has the row that was
        reserved; the repeats within this segment come after all of those."""
        key = self._stream.layout.segment(head.segment)
        rows: list[Row] = []
        answers: list[tuple[Item, Answer]] = []
        repeats = len(groups)
        for first, (event_id, group) in enumerate(groups.items()):
            if event_id not in decisions.winners:
                continue
            met = decisions.winners[event_id]
            winner = met or Winner(group[0].arrival, head.segment)
            same = Sameness(winner.arrival, self._stream.fingerprint_exclude)
            for position, item in enumerate(group):
                number = first if position == 0 else repeats
                repeats += position > 0
                accepted = met is None and position == 0
                outcome = Outcome.ACCEPTED if accepted else _outcome(same, item)
                rows.append(Row(number, item.arrival, outcome, None if accepted else str(winner.segment)))
                answer = Answer(
                    Status(outcome.value),
                    event_id,
                    (head.ingest_time.micros - item.arrival.event_time.micros) // 1000,
                    key,
                    number,
                    None if accepted else self._stream.layout.segment(winner.segment),
                )
                answers.append((item, answer))
        return rows, answers


def _all_new(groups: dict[str, list[Item]]) -> Decisions:
    return Decisions(winners=dict.fromkeys(groups))


def _outcome(same: Sameness, item: Item) -> Outcome:
    if item.arrival.replay_of is not None:
        return Outcome.REPLAYED
    return Outcome.DUPLICATE if same.is_repeated_by(item.arrival) else Outcome.CONFLICT


def _by_event(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Items by event id, in order of the first of each: the same id may come twice in one segment."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.arrival.event_id, []).append(item)
    return groups
