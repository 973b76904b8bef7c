"""DynamoDB in memory: exactly the conditions of `ports.index`, nothing cleverer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from pik.domain.errors import Fenced, NoSuchTable
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry, SegmentID
from pik.memory.hooks import Hook, unhooked
from pik.ports.index import GenerationState, Reservation

_HOUR_MILLIS = 3_600_000


@dataclass(frozen=True)
class Lease:
    holder: str
    expires: int  # microseconds since the epoch


@dataclass
class MemoryTable:
    """What several indexes, each with hooks of its own, share. Tests may change it behind their backs."""

    exists: bool = True
    generation: GenerationState | None = None
    entries: dict[str, Reservation] = field(default_factory=dict)  # by event id
    segments: dict[SegmentID, SegmentEntry] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    marks: dict[str, dict[int, tuple[int, str]]] = field(default_factory=dict)  # number and text, by part

    async def ensure(self) -> None:
        """Creates the table where it is absent."""
        self.exists = True

    def drop(self) -> None:
        """Deletes the table and all that is in it."""
        self.exists = False
        self.generation = None
        self.entries.clear()
        self.segments.clear()
        self.leases.clear()
        self.marks.clear()


class MemoryIndex:
    """`ports.Index` over a `MemoryTable`. Each item of a batch is a call of its own to `before`, since others
    may come in between two items; the batch has one answer."""

    def __init__(
        self, table: MemoryTable, before: Hook = unhooked, after: Hook = unhooked, page: int = 1_000
    ) -> None:
        self._shared = table
        self._before = before
        self._after = after
        self._page = page

    async def generation(self) -> GenerationState | None:
        await self._before("index.generation")
        state = self._table().generation
        await self._after("index.generation")
        return state

    async def fence(self, number: int, nonce: str) -> None:
        await self._before("index.fence")
        table = self._table()
        there = table.generation
        if there is not None and not (there.number < number or (there.number == number and not there.ready)):
            raise Fenced(f"the index is at generation {there.number}")
        table.generation = GenerationState(number, nonce, ready=False)
        await self._after("index.fence")

    async def set_ready(self, number: int, nonce: str) -> None:
        await self._before("index.set_ready")
        table = self._table()
        ready = GenerationState(number, nonce, ready=True)
        if table.generation not in (ready, GenerationState(number, nonce, ready=False)):
            raise Fenced(f"the index is no longer at this rebuild of generation {number}")
        table.generation = ready
        await self._after("index.set_ready")

    async def reserve(self, wanted: Sequence[Reservation]) -> list[Reservation | None]:
        found: list[Reservation | None] = []
        for reservation in wanted:
            await self._before("index.reserve")
            entries = self._table().entries
            found.append(entries.get(reservation.event_id))
            entries.setdefault(reservation.event_id, reservation)
        await self._after("index.reserve")
        return found

    async def take_over(self, reservation: Reservation, seen: Reservation) -> Reservation | None:
        await self._before("index.take_over")
        entries = self._table().entries
        there = entries.get(reservation.event_id)
        replaced = there is None or (there.segment == seen.segment and there.generation == seen.generation)
        if replaced:
            entries[reservation.event_id] = reservation
        await self._after("index.take_over")
        return None if replaced else there

    async def put_winners(self, winners: Sequence[Reservation]) -> None:
        for winner in winners:
            await self._before("index.put_winners")
            entries = self._table().entries
            there = entries.get(winner.event_id)
            if there is None or there.generation < winner.generation:
                entries[winner.event_id] = winner
        await self._after("index.put_winners")

    async def put_segment(self, entry: SegmentEntry, generation: int) -> None:
        await self._before("index.put_segment")
        table = self._table()
        there = table.generation
        if there is None or there.number != generation or not there.ready:
            raise Fenced(f"the index is not at generation {generation} and ready")
        table.segments[entry.segment] = entry
        await self._after("index.put_segment")

    async def rebuild_segment(self, entry: SegmentEntry, generation: int, nonce: str) -> None:
        await self._before("index.rebuild_segment")
        table = self._table()
        if table.generation != GenerationState(generation, nonce, ready=False):
            raise Fenced(f"the index is no longer at this rebuild of generation {generation}")
        table.segments[entry.segment] = entry
        await self._after("index.rebuild_segment")

    async def segments(self, since: Instant | None = None) -> AsyncIterator[SegmentEntry]:
        first = 0 if since is None else since.micros // 1_000 // _HOUR_MILLIS * _HOUR_MILLIS
        last: SegmentID | None = None
        while True:
            await self._before("index.segments")
            ids = sorted(
                segment
                for segment in self._table().segments
                if segment.stamp_millis >= first and (last is None or segment > last)
            )
            page = [self._shared.segments[segment] for segment in ids[: self._page]]
            await self._after("index.segments")
            for entry in page:
                yield entry
            if len(ids) <= self._page:
                return
            last = page[-1].segment

    async def by_entity(
        self, entity_id: str, start: Instant | None, end: Instant | None
    ) -> AsyncIterator[Reservation]:
        await self._before("index.by_entity")
        found = sorted(
            (
                entry
                for entry in self._table().entries.values()
                if entry.entity_id == entity_id
                and (start is None or start <= entry.event_time)
                and (end is None or entry.event_time < end)
            ),
            key=lambda entry: (entry.event_time, entry.event_id),
        )
        await self._after("index.by_entity")
        for entry in found:
            yield entry

    async def acquire(self, lease: str, holder: str, now: Instant, seconds: float) -> bool:
        await self._before("index.acquire")
        leases = self._table().leases
        there = leases.get(lease)
        free = there is None or there.holder == holder or there.expires <= now.micros
        if free:
            leases[lease] = Lease(holder, now.micros + round(seconds * 1_000_000))
        await self._after("index.acquire")
        return free

    async def release(self, lease: str, holder: str) -> None:
        await self._before("index.release")
        leases = self._table().leases
        there = leases.get(lease)
        if there is not None and there.holder == holder:
            del leases[lease]
        await self._after("index.release")

    async def put_mark(self, run: str, part: int, number: int, text: str) -> None:
        await self._before("index.put_mark")
        marks = self._table().marks.setdefault(run, {})
        if part not in marks or marks[part][0] < number:
            marks[part] = (number, text)
        await self._after("index.put_mark")

    async def marks(self, run: str) -> dict[int, str]:
        await self._before("index.marks")
        found = {part: text for part, (_, text) in self._table().marks.get(run, {}).items()}
        await self._after("index.marks")
        return found

    async def drop_marks(self, run: str) -> None:
        await self._before("index.drop_marks")
        self._table().marks.pop(run, None)
        await self._after("index.drop_marks")

    def _table(self) -> MemoryTable:
        if not self._shared.exists:
            raise NoSuchTable("there is no such table")
        return self._shared
