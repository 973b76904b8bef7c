"""Capture for streams that decide on read: every arrival is RECORDED, nothing is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from pik.domain.columns import Columns, joined
from pik.domain.errors import NoSuchTable, NotReady
from pik.domain.instants import Instant
from pik.execution.capture.answers import Answer, Attempt, Parcel, Status
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

    async def commit(self, parcels: Sequence[Parcel], stamp: Instant) -> Attempt[Parcel]:
        """Answers every event, or has all of them start again where the index moved to a generation that
        does not list this segment. Raises `Unavailable` and `NotReady`: then nothing was answered."""
        try:
            head = self._landing.head(stamp, await self._generation.known())
            arrivals = joined([parcel.arrivals for parcel in parcels])
            entry = await self._landing.land_columns(head, arrivals)
            registered = await self._landing.register(entry)
        except NoSuchTable as error:
            raise NotReady("the index table is gone: run `pik reindex`") from error
        except NotReady:
            self._generation.forget()  # else a segment would be written for each of its tries
            raise
        except Voided:
            return Attempt([], [parcel.again() for parcel in parcels])
        if not registered:
            self._generation.forget()
            return Attempt([], [parcel.again() for parcel in parcels])
        answers = iter(_answers(arrivals, stamp.micros, entry.key))
        return Attempt([(parcel, list(islice(answers, parcel.events))) for parcel in parcels], [])


def _answers(arrivals: Columns, stamp: int, key: str) -> list[Answer]:
    """Of the segment's rows."""
    return [
        Answer(
            Status.RECORDED if run is None else Status.REPLAYED, event_id, (stamp - micros) // 1000, key, row
        )
        for row, (event_id, micros, run) in enumerate(
            zip(arrivals.event_id, arrivals.event_micros, arrivals.replay_of, strict=True)
        )
    ]
