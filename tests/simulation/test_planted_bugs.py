"""A simulator that finds nothing proves nothing: each step of the protocol, left out, is caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pik.domain.errors import AlreadyExists, Fenced, Unavailable
from pik.domain.instants import Instant
from pik.execution import reindex as reindexing
from pik.execution.capture.deciding import Deciding
from pik.execution.capture.landing import Landing
from pik.execution.capture.winners import Winner, Winners
from pik.execution.generations import KnownGeneration
from pik.execution.stream import Deduplication
from pik.memory.index import MemoryIndex
from pik.ports.index import GenerationState
from simulation.test_capture_simulation import play
from simulation.virtual_loop import Endless, schedules

WITHIN = 3_000


def believe_a_reservation(patch: pytest.MonkeyPatch) -> None:
    """DUPLICATE on the strength of a reservation whose segment never landed."""
    real = Deciding._settle

    async def settle(self: Deciding, ours: Any, found: Any, decisions: Any) -> Any:
        absent = await real(self, ours, found, decisions)
        if absent is not None:
            group = self.groups[ours.event_id]  # type: ignore[attr-defined]
            decisions.winners[ours.event_id] = Winner(group[0].arrival, absent.segment)

    deciding = Deciding.decide

    async def decide(self: Deciding, head: Any, groups: Any) -> Any:
        self.groups = groups  # type: ignore[attr-defined]
        return await deciding(self, head, groups)

    patch.setattr(Deciding, "_settle", settle)
    patch.setattr(Deciding, "decide", decide)


def believe_a_void(patch: pytest.MonkeyPatch) -> None:
    """A segment that landed without the event is taken for one that holds it."""
    real = Winners.look

    async def look(self: Winners, segment: Any, event_id: str) -> Any:
        found = await real(self, segment, event_id)
        known = [arrival for arrivals in self._seen.values() for arrival in arrivals.values()]
        return found or (Winner(known[0], segment) if known else None)

    patch.setattr(Winners, "look", look)


def trust_the_dead(patch: pytest.MonkeyPatch) -> None:
    """An entry of an earlier generation counts if its segment landed."""
    patch.setattr(Deciding, "_is_dead", lambda *_: False)


def do_not_look_at_the_generation_again(patch: pytest.MonkeyPatch) -> None:
    """Step 3 left out."""
    real = KnownGeneration.read

    async def read(self: KnownGeneration) -> int:
        return await real(self) if self._known is None else self._known

    patch.setattr(KnownGeneration, "read", read)


def answer_though_fenced(patch: pytest.MonkeyPatch) -> None:
    """Step 5's condition left out."""
    real = Landing.register

    async def register(self: Landing, entry: Any) -> bool:
        await real(self, entry)
        return True

    async def put_segment(self: MemoryIndex, entry: Any, generation: int) -> None:
        def effect() -> None:
            self._table().segments[entry.segment] = entry

        await self._wire.call("index.put_segment", effect)

    patch.setattr(Landing, "register", register)
    patch.setattr(MemoryIndex, "put_segment", put_segment)


def answer_before_durable(patch: pytest.MonkeyPatch) -> None:
    """A PUT without an answer is taken for done."""
    real = Landing.land

    async def land(self: Landing, head: Any, rows: Any, body: Any = None) -> Any:
        objects = self._stream.objects
        create = objects.create

        async def forgetful(key: str, body: bytes, content_type: str = "") -> Instant:
            try:
                return await create(key, body, content_type)
            except (Unavailable, AlreadyExists):
                return self._stream.clock.now()

        patch.setattr(objects, "create", forgetful)
        try:
            return await real(self, head, rows, body)
        finally:
            patch.setattr(objects, "create", create)

    patch.setattr(Landing, "land", land)


def forget_who_counts(patch: pytest.MonkeyPatch) -> None:
    """A reindex counts only the segments of the last generation, not those listed before."""
    real = reindexing._counting

    async def counting(stream: Any, newest: Any) -> Any:
        found = await real(stream, newest)
        return [segment for segment in found if newest and segment.generation == newest.number]

    patch.setattr(reindexing, "_counting", counting)


def fence_nobody(patch: pytest.MonkeyPatch) -> None:
    """A reindex fences after its LIST instead of before."""
    patch.setattr(reindexing, "_counting", _fenced_late(reindexing._counting))


def _fenced_late(real: Callable[..., Any]) -> Callable[..., Any]:
    async def counting(stream: Any, newest: Any) -> Any:
        there = stream.index._table().generation
        if there is not None and newest is not None:
            stream.index._table().generation = GenerationState(newest.number, newest.nonce, ready=True)
        found = await real(stream, newest)
        await stream.clock.sleep(0.3)
        if there is not None:
            stream.index._table().generation = there
        return found

    return counting


def ready_whoever_asks(patch: pytest.MonkeyPatch) -> None:
    """The last step of a reindex is not conditional on its own fence."""

    async def set_ready(self: MemoryIndex, number: int, nonce: str) -> None:
        def effect() -> None:
            self._table().generation = GenerationState(number, nonce, ready=True)

        await self._wire.call("index.set_ready", effect)

    patch.setattr(MemoryIndex, "set_ready", set_ready)


def overwrite_by_a_duplicate(patch: pytest.MonkeyPatch) -> None:
    """The index entry is put without a condition."""

    def reserve(self: MemoryIndex, wanted: Any) -> None:
        self._table().entries[wanted.event_id] = wanted

    patch.setattr(MemoryIndex, "_reserve", reserve)


@pytest.mark.parametrize(
    "plant",
    [
        believe_a_reservation,
        believe_a_void,
        trust_the_dead,
        do_not_look_at_the_generation_again,
        answer_though_fenced,
        answer_before_durable,
        forget_who_counts,
        fence_nobody,
        ready_whoever_asks,
        overwrite_by_a_duplicate,
    ],
)
def test_a_planted_bug_is_caught(plant: Callable[[pytest.MonkeyPatch], None]) -> None:
    for seed in schedules(range(WITHIN)):
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            try:
                _, broken, _ = play(seed, Deduplication.ON_WRITE)
            except (Fenced, Endless, AssertionError, KeyError, IndexError) as error:
                broken = [repr(error)]
        if broken:
            return
    pytest.fail(f"not caught within {WITHIN} schedules")
