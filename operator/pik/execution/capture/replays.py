"""Which arrivals are replays: the marker counts only if its run is on record (law 10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pik.domain.arrivals import Arrival, Rejection
from pik.domain.errors import BatchTooLarge
from pik.domain.intake import Decoded, Intake, ReplayClaim
from pik.execution.replay.runs import read_record
from pik.execution.stream import Stream

_REMEMBERED = 1_000
_MOST_RUNS = 16  # in one request: each that is not known yet is looked up


class ReplayClaims:
    """Judges the claims of arrivals, and remembers the true ones: a run's record never goes away."""

    def __init__(self, stream_of: Callable[[str], Stream | None]) -> None:
        """`stream_of`: the stream with this id, if this process knows it and may read its bucket."""
        self._stream_of = stream_of
        self._known: set[ReplayClaim] = set()

    async def judge(self, taken: Sequence[Intake]) -> list[Arrival | Rejection]:
        """The arrivals as they are to be stored. A false claim stays visible in an arrival's attributes.

        Raises `Unavailable` where the record cannot be read: nobody can tell then; and `BatchTooLarge` for
        more runs at once than a target is ever sent.
        """
        claims = {item.claim for item in taken if isinstance(item, Decoded) and item.claim is not None}
        if not claims:
            return [item.arrival if isinstance(item, Decoded) else item for item in taken]
        if len(claims) > _MOST_RUNS:
            raise BatchTooLarge(f"events of {len(claims)} replays at once; {_MOST_RUNS} are taken")
        true = {claim for claim in claims if await self._is_true(claim)}
        return [
            item
            if isinstance(item, Rejection)
            else item.as_replay()
            if item.claim in true
            else item.as_ordinary()
            for item in taken
        ]

    async def _is_true(self, claim: ReplayClaim) -> bool:
        if claim in self._known:
            return True
        stream = self._stream_of(claim.stream_id)
        if stream is None or await read_record(stream, claim.run_id) is None:
            return False
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known.add(claim)
        return True
