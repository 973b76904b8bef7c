"""DynamoDB in memory: exactly the conditions of `ports.index`, nothing cleverer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from pik.domain.errors import Fenced, NoSuchTable, Tampered
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry, SegmentID
from pik.memory.hooks import Hook, Hooked, Wire, unhooked
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
    """`ports.Index` over a `MemoryTable`. The items of a batch take effect one by one."""

    def __init__(
        self,
        table: MemoryTable,
        before: Hook = unhooked,
        after: Hook = unhooked,
        page: int = 1_000,
        wire: Wire | None = None,
    ) -> None:
        """`wire`: in place of the two hooks."""
        self._shared = table
        self._wire = wire or Hooked(before, after)
        self._page = page

    async def generation(self) -> GenerationState | None:
        return await self._wire.call("index.generation", lambda: self._table().generation)

    async def fence(self, number: int, nonce: str) -> None:
        def effect() -> None:
            table = self._table()
            there = table.generation
            if there is not None and not (
                there.number < number or (there.number == number and not there.ready)
            ):
                raise Fenced(f"the index is at generation {there.number}")
            table.generation = GenerationState(number, nonce, ready=False)

        await self._wire.call("index.fence", effect)

    async def set_ready(self, number: int, nonce: str) -> None:
        def effect() -> None:
            table = self._table()
            ready = GenerationState(number, nonce, ready=True)
            if table.generation not in (ready, GenerationState(number, nonce, ready=False)):
                raise Fenced(f"the index is no longer at this rebuild of generation {number}")
            table.generation = ready

        await self._wire.call("index.set_ready", effect)

    async def reserve(self, wanted: Sequence[Reservation]) -> list[Reservation | None]:
        return await self._wire.batch("index.reserve", [partial(self._reserve, each) for each in wanted])

    def _reserve(self, wanted: Reservation) -> Reservation | None:
        entries = self._table().entries
        there = entries.get(wanted.event_id)
        entries.setdefault(wanted.event_id, wanted)
        return there

    async def take_over(self, reservation: Reservation, seen: Reservation) -> Reservation | None:
        def effect() -> Reservation | None:
            entries = self._table().entries
            there = entries.get(reservation.event_id)
            if there is None or (there.segment == seen.segment and there.generation == seen.generation):
                entries[reservation.event_id] = reservation
                return None
            return there

        return await self._wire.call("index.take_over", effect)

    async def put_winners(self, winners: Sequence[Reservation]) -> None:
        await self._wire.batch("index.put_winners", [partial(self._put_winner, each) for each in winners])

    def _put_winner(self, winner: Reservation) -> None:
        entries = self._table().entries
        there = entries.get(winner.event_id)
        if there is None or there.generation < winner.generation:
            entries[winner.event_id] = winner

    async def put_segment(self, entry: SegmentEntry, generation: int) -> None:
        def effect() -> None:
            table = self._table()
            there = table.generation
            if there is None or there.number != generation or not there.ready:
                raise Fenced(f"the index is not at generation {generation} and ready")
            table.segments[entry.segment] = entry

        await self._wire.call("index.put_segment", effect)

    async def rebuild_segment(self, entry: SegmentEntry, generation: int, nonce: str) -> None:
        def effect() -> None:
            table = self._table()
            if table.generation != GenerationState(generation, nonce, ready=False):
                raise Fenced(f"the index is no longer at this rebuild of generation {generation}")
            table.segments[entry.segment] = entry

        await self._wire.call("index.rebuild_segment", effect)

    async def segments(self, since: Instant | None = None) -> AsyncIterator[SegmentEntry]:
        first = 0 if since is None else since.micros // 1_000 // _HOUR_MILLIS * _HOUR_MILLIS
        last: SegmentID | None = None
        whole = False
        while not whole:
            page, whole = await self._wire.call("index.segments", partial(self._segments, first, last))
            for segment, entry in page:
                if entry.segment != segment:
                    raise Tampered(f"manifest row {segment}: it says that it is of segment {entry.segment}")
                yield entry
            last = page[-1][0] if page else None

    def _segments(
        self, first: int, last: SegmentID | None
    ) -> tuple[list[tuple[SegmentID, SegmentEntry]], bool]:
        """The page after `last` of rows stamped from `first` (milliseconds) on; whether it is the last."""
        segments = self._table().segments
        ids = sorted(
            segment
            for segment in segments
            if segment.stamp_millis >= first and (last is None or segment > last)
        )
        return [(segment, segments[segment]) for segment in ids[: self._page]], len(ids) <= self._page

    async def by_entity(
        self, entity_id: str, start: Instant | None, end: Instant | None
    ) -> AsyncIterator[Reservation]:
        def effect() -> list[Reservation]:
            found = (
                entry
                for entry in self._table().entries.values()
                if entry.entity_id == entity_id
                and (start is None or start <= entry.event_time)
                and (end is None or entry.event_time < end)
            )
            return sorted(found, key=lambda entry: (entry.event_time, entry.event_id))

        for entry in await self._wire.call("index.by_entity", effect):
            yield entry

    async def entries(self) -> AsyncIterator[Reservation]:
        last, whole = "", False
        while not whole:
            page, whole = await self._wire.call("index.entries", partial(self._entries, last))
            for entry in page:
                yield entry
            last = page[-1].event_id if page else last

    def _entries(self, last: str) -> tuple[list[Reservation], bool]:
        """The page after the event id `last`; whether it is the last."""
        entries = self._table().entries
        ids = sorted(event_id for event_id in entries if event_id > last)
        return [entries[event_id] for event_id in ids[: self._page]], len(ids) <= self._page

    async def acquire(self, lease: str, holder: str, now: Instant, seconds: float) -> bool:
        def effect() -> bool:
            leases = self._table().leases
            there = leases.get(lease)
            free = there is None or there.holder == holder or there.expires <= now.micros
            if free:
                leases[lease] = Lease(holder, now.micros + round(seconds * 1_000_000))
            return free

        return await self._wire.call("index.acquire", effect)

    async def release(self, lease: str, holder: str) -> None:
        def effect() -> None:
            leases = self._table().leases
            there = leases.get(lease)
            if there is not None and there.holder == holder:
                del leases[lease]

        await self._wire.call("index.release", effect)

    async def put_mark(self, run: str, part: int, number: int, text: str) -> None:
        def effect() -> None:
            marks = self._table().marks.setdefault(run, {})
            if part not in marks or marks[part][0] < number:
                marks[part] = (number, text)

        await self._wire.call("index.put_mark", effect)

    async def marks(self, run: str) -> dict[int, str]:
        def effect() -> dict[int, str]:
            return {part: text for part, (_, text) in self._table().marks.get(run, {}).items()}

        return await self._wire.call("index.marks", effect)

    async def drop_marks(self, run: str) -> None:
        def effect() -> None:
            self._table().marks.pop(run, None)

        await self._wire.call("index.drop_marks", effect)

    def _table(self) -> MemoryTable:
        if not self._shared.exists:
            raise NoSuchTable("there is no such table")
        return self._shared
