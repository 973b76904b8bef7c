"""Capture for streams that decide on read: every arrival is RECORDED, nothing is looked up."""

from __future__ import annotations

from collections.abc import Sequence

from pik.domain.arrivals import Outcome, Row
from pik.domain.errors import NoSuchTable, NotReady
from pik.domain.instants import Instant
from pik.execution.capture.answers import Answer, Attempt, Item, Status
from pik.execution.capture.landing import Landing, Voided
from pik.execution.capture.settings import CaptureSettings
from pik.execution.generations import KnownGeneration
from pik.execution.stream import Stream


class OnRead:
    """One writer of an `OnRead` stream."""

    def __init__(self, stream: Stream, settings: CaptureSettings, landing: Landing) -> None:
        self._stream = stream
        self._settings = settings
        self._landing = landing
        self._generation = KnownGeneration(stream, settings.patience)

    async def commit(self, items: Sequence[Item], stamp: Instant) -> Attempt:
        """Answers every item, or has all of them start again where the index moved to a generation that does
        not list this segment. Raises `Unavailable` and `NotReady`: then nothing was answered."""
        try:
            head = self._landing.head(stamp, await self._generation.known())
            rows = [
                Row(
                    number,
                    item.arrival,
                    Outcome.RECORDED if item.arrival.replay_of is None else Outcome.REPLAYED,
                )
                for number, item in enumerate(items)
            ]
            entry = await self._landing.land(head, rows)
            registered = await self._landing.register(entry)
        except NoSuchTable as error:
            raise NotReady("the index table is gone: run `pik reindex`") from error
        except NotReady:
            self._generation.forget()  # else a segment would be written for each of its tries
            raise
        except Voided:
            return Attempt([], [item.again(voided=True) for item in items])
        if not registered:
            self._generation.forget()
            return Attempt([], [item.again(voided=False) for item in items])
        return Attempt(
            [
                (
                    item,
                    Answer(
                        Status(row.outcome.value),
                        item.arrival.event_id,
                        (stamp.micros - item.arrival.event_time.micros) // 1000,
                        entry.key,
                        row.row,
                    ),
                )
                for item, row in zip(items, rows, strict=True)
            ],
            [],
        )
