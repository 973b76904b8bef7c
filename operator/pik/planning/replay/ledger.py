"""Whether a ledger accounts for every event of its plan (law 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from pik.planning.replay.records import ChunkHead, LedgerEntry, Repeats, Result


class Reconciliation(msgspec.Struct, frozen=True):
    """A ledger held against its plan. `whole`: every event is in it once, and the numbers add up."""

    matched: int  # by the plan
    sent: int
    failed: int
    held: int
    skipped: int
    unsent: int  # of a run that ended, or has not ended: in no chunk with an outcome
    twice: tuple[str, ...]  # messages that stand in the ledger more than once: a broken ledger
    gaps: tuple[str, ...]  # places where a shard's positions do not follow each other: a broken ledger
    doubted: int  # events of chunks that were in doubt: only these were sent twice, if any were
    undropped: int  # of those, events that the target's own deduplication could not help with
    retried: int  # events that the target may have seen before their answer was lost

    @property
    def whole(self) -> bool:
        return self.unsent == 0 and not self.twice and not self.gaps


class Reconciler:
    """Takes a ledger's chunks in order of shard and chunk; keeps numbers and keys, not the chunks."""

    def __init__(self) -> None:
        self._results: Counter[Result] = Counter()
        self._keys: set[str] = set()
        self._following: dict[int, int] = {}  # by shard: where its next chunk must begin
        self._twice: list[str] = []
        self._gaps: list[str] = []
        self._doubted = self._undropped = self._retried = 0

    def add(self, head: ChunkHead, entries: Sequence[LedgerEntry]) -> None:
        """The next chunk."""
        self._check_place(head, entries)
        for entry in entries:
            self._results[entry.result] += 1
            if entry.key in self._keys:
                self._twice.append(entry.key)
            self._keys.add(entry.key)
        attempted = [entry for entry in entries if entry.result in (Result.SENT, Result.FAILED)]
        self._retried += sum(entry.attempts > 1 for entry in attempted)
        if head.in_doubt:
            self._doubted += len(attempted)
            self._undropped += 0 if head.repeats is Repeats.DROPPED else len(attempted)

    def against(self, matched: int) -> Reconciliation:
        """All that was taken, against the number of events that the plan matched."""
        return Reconciliation(
            matched=matched,
            sent=self._results[Result.SENT],
            failed=self._results[Result.FAILED],
            held=self._results[Result.HELD],
            skipped=self._results[Result.SKIPPED],
            unsent=matched - self._results.total(),
            twice=tuple(self._twice),
            gaps=tuple(self._gaps),
            doubted=self._doubted,
            undropped=self._undropped,
            retried=self._retried,
        )

    def _check_place(self, head: ChunkHead, entries: Sequence[LedgerEntry]) -> None:
        place = f"shard {head.shard}, chunk {head.chunk}"
        if head.start != self._following.get(head.shard, 0):
            self._gaps.append(f"{place} begins at {head.start}")
        self._following[head.shard] = head.start + head.count
        positions = [entry.position for entry in entries]
        expected = range(head.start, head.start + head.count)
        whole = positions == list(expected)
        if not whole and not (head.stopped and set(positions) <= set(expected)):
            self._gaps.append(f"{place} has not the lines of its positions")
