"""What became of each event of a chunk, and the ledger's lines that say so."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pik.planning.replay.events import payload_bytes
from pik.planning.replay.ledger_lines import Fate, ledger_lines
from pik.planning.replay.messages import Messages
from pik.planning.replay.records import MAX_FAILURES, Failure, Result, Totals
from pik.ports.sinks import Delivery, Disposition

_RESULTS = {Disposition.DELIVERED: Result.SENT, Disposition.REFUSED: Result.FAILED}


class Fates:
    """By position in the chunk. Nothing is known of an event that was not begun."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._fates: list[Fate | None] = [None] * len(messages)
        self.failed: list[int] = []  # as their answers came

    def unsent(self, positions: Collection[int], result: Result) -> None:
        """These are held, or skipped."""
        for position in positions:
            self._fates[position] = Fate(result)

    def settle(
        self, positions: Sequence[int], deliveries: Sequence[Delivery], tries: int
    ) -> list[tuple[int, Delivery]]:
        """Takes a call's answers; those that ask for another try come back. `tries`: that were made before
        these."""
        if len(positions) != len(deliveries):
            raise ValueError(f"{len(deliveries)} answers to {len(positions)} messages")
        first = deliveries[0]
        alike = isinstance(positions, range) and deliveries.count(first) == len(deliveries)
        if alike and first.disposition is Disposition.DELIVERED:  # one answer to a whole call
            fate = Fate(Result.SENT, first.answer, first.reason, tries + first.tries)
            self._fates[positions[0] : positions[-1] + 1] = [fate] * len(positions)
            return []
        again = []
        for position, delivery in zip(positions, deliveries, strict=True):
            if delivery.disposition in (Disposition.RETRYABLE, Disposition.FAILED):
                again.append((position, delivery))
                continue
            result = _RESULTS[delivery.disposition]
            self._fates[position] = Fate(result, delivery.answer, delivery.reason, tries + delivery.tries)
            if result is Result.FAILED:
                self.failed.append(position)
        return again

    def give_up(self, left: Sequence[tuple[int, Delivery]], tries: int) -> None:
        """The target did not take these in so many tries."""
        for position, delivery in left:
            self._fates[position] = Fate(Result.FAILED, delivery.answer, delivery.reason, tries)
            self.failed.append(position)

    def bury(self, positions: Collection[int]) -> None:
        """These went to the dead letter queue."""
        for position in positions:
            if (fate := self._fates[position]) is not None:
                self._fates[position] = fate._replace(dead_lettered=True)

    @property
    def totals(self) -> Totals:
        count = len(self._fates)
        first = self._fates[0]
        if first is not None and first.result is Result.SENT and self._fates.count(first) == count:
            return Totals(sent=count, bytes=payload_bytes(self._messages.events))
        results = [None if fate is None else fate.result for fate in self._fates]
        sizes = pc.binary_length(self._messages.events.column("data"))
        sent = sizes.filter(pa.array([result is Result.SENT for result in results]))
        return Totals(
            sent=results.count(Result.SENT),
            failed=results.count(Result.FAILED),
            held=results.count(Result.HELD),
            skipped=results.count(Result.SKIPPED),
            bytes=pc.sum(sent).as_py() or 0,
        )

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The first in plan order."""
        event_ids = self._messages.events.column("event_id")
        known = [(position, self._fates[position]) for position in sorted(self.failed)[:MAX_FAILURES]]
        return tuple(
            Failure(event_ids[position].as_py(), fate.reason, fate.answer)
            for position, fate in known
            if fate is not None
        )

    def ledger(self, start: int) -> memoryview:
        """The lines of all of which something is known. `start`: the chunk's first position."""
        fates = [fate for fate in self._fates if fate is not None]
        if not fates:
            return memoryview(b"")
        messages, positions = self._messages, pa.arange(start, start + len(self._fates))
        if len(fates) < len(self._fates):
            known = [position for position, fate in enumerate(self._fates) if fate is not None]
            messages, positions = messages.at(known), positions.take(known)
        return ledger_lines(positions, messages.events, fates, messages.run_id)
