"""Bugs to be planted: a simulator that finds nothing proves nothing.

Each leaves out one step of a protocol, as somebody might who takes it for superfluous, or does it wrongly.
The steps that DESIGN marks with ● are the first ones, in its order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from pik.domain.errors import AlreadyExists, Unavailable
from pik.domain.instants import Instant
from pik.domain.segments import CountingRule, SegmentID
from pik.domain.windows import Window
from pik.execution import reindex as reindexing
from pik.execution.capture import landing
from pik.execution.capture.deciding import Deciding
from pik.execution.capture.landing import Landing
from pik.execution.capture.winners import Winner, Winners
from pik.execution.generations import KnownGeneration, newest_record
from pik.execution.reading import snapshot
from pik.execution.replay import shard
from pik.execution.replay.courier import Courier
from pik.execution.stream import Stream
from pik.memory.index import MemoryIndex
from pik.ports.index import GenerationState
from pik.ports.sinks import Batch, Delivery, Disposition, SinkTraits

Patch = pytest.MonkeyPatch


def believe_a_reservation(patch: Patch) -> None:
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


def believe_a_void(patch: Patch) -> None:
    """A segment that landed without the event is taken for one that holds it."""
    real = Winners.look

    async def look(self: Winners, segment: Any, event_id: str) -> Any:
        found = await real(self, segment, event_id)
        known = [arrival for arrivals in self._seen.values() for arrival in arrivals.values()]
        return found or (Winner(known[0], segment) if known else None)

    patch.setattr(Winners, "look", look)


def trust_the_dead(patch: Patch) -> None:
    """An entry of an earlier generation counts if its segment landed."""
    patch.setattr(Deciding, "_is_dead", lambda *_: False)


def do_not_look_at_the_generation_again(patch: Patch) -> None:
    """Step 3 left out."""
    real = KnownGeneration.read

    async def read(self: KnownGeneration) -> int:
        return await real(self) if self._known is None else self._known

    patch.setattr(KnownGeneration, "read", read)


def answer_though_fenced(patch: Patch) -> None:
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


def answer_before_durable(patch: Patch) -> None:
    """A PUT without an answer is taken for done."""
    real = Landing.land

    async def land(self: Landing, *given: Any) -> Any:
        objects = self._stream.objects
        create = objects.create

        async def forgetful(key: str, body: bytes, content_type: str = "") -> Instant:
            try:
                return await create(key, body, content_type)
            except (Unavailable, AlreadyExists):
                return self._stream.clock.now()

        patch.setattr(objects, "create", forgetful)
        try:
            return await real(self, *given)
        finally:
            patch.setattr(objects, "create", create)

    patch.setattr(Landing, "land", land)


def forget_who_counts(patch: Patch) -> None:
    """A reindex counts only the segments of the last generation, not those listed before."""
    real = reindexing._counting

    async def counting(stream: Any, newest: Any) -> Any:
        found = await real(stream, newest)
        return [segment for segment in found if newest and segment.generation == newest.number]

    patch.setattr(reindexing, "_counting", counting)


def fence_nobody(patch: Patch) -> None:
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


def ready_whoever_asks(patch: Patch) -> None:
    """The last step of a reindex is not conditional on its own fence."""

    async def set_ready(self: MemoryIndex, number: int, nonce: str) -> None:
        def effect() -> None:
            self._table().generation = GenerationState(number, nonce, ready=True)

        await self._wire.call("index.set_ready", effect)

    patch.setattr(MemoryIndex, "set_ready", set_ready)


def overwrite_by_a_duplicate(patch: Patch) -> None:
    """The index entry is put without a condition."""

    def reserve(self: MemoryIndex, wanted: Any) -> None:
        self._table().entries[wanted.event_id] = wanted

    patch.setattr(MemoryIndex, "_reserve", reserve)


def count_whatever_landed(patch: Patch) -> None:
    """What counts is not asked: whatever has landed is read."""
    patch.setattr(CountingRule, "counts", lambda *_: True)


def go_on_with_anothers_record(patch: Patch) -> None:
    """A reindex that finds the generation's record there goes on, whoever made it."""
    real = reindexing._create

    async def create(stream: Stream, record: Any) -> None:
        try:
            await real(stream, record)
        except reindexing.Fenced:
            return

    patch.setattr(reindexing, "_create", create)


def leave_out_the_listing(patch: Patch) -> None:
    """A plan is made of the manifest alone."""

    async def listed(stream: Stream, since: Instant | None) -> set[SegmentID]:
        record = await newest_record(stream)
        counting = set() if record is None else {*record.counting}
        return counting | {entry.segment async for entry in stream.index.segments(since)}

    patch.setattr(snapshot, "_listed", listed)


def do_not_look_whether_it_was_rebuilt(patch: Patch) -> None:
    """The generation is not read again after a plan's listing."""
    real = snapshot._take

    async def take(stream: Stream, *given: Any) -> Any:
        return await real(replace(stream, index=_Remembering(stream.index)), *given)

    patch.setattr(snapshot, "_take", take)


class _Remembering:
    """An index whose generation is asked for once."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._known: GenerationState | None = None

    async def generation(self) -> GenerationState | None:
        if self._known is None:
            self._known = await self._index.generation()
        return self._known

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)


def pin_nothing(patch: Patch) -> None:
    """A snapshot as known at an instant is taken anew each time."""

    async def pinned(stream: Stream, as_of: Instant) -> Any:
        taken = await snapshot.take_snapshot(stream, as_of, now=stream.clock.now())
        with suppress(AlreadyExists):
            await stream.objects.create(
                stream.layout.snapshot(as_of.exact_text),
                snapshot.msgspec.json.encode(snapshot._pin(taken)),
            )
        return taken

    patch.setattr("pik.execution.aggregate.compute.pinned_snapshot", pinned)


def include_the_end(patch: Patch) -> None:
    """A window's end belongs to it."""
    patch.setattr(Window, "__contains__", lambda self, instant: self.start <= instant <= self.end)


def write_the_outcome_before_sending(patch: Patch) -> None:
    """A chunk's checkpoint is written, and then the chunk is sent."""
    real = Courier.deliver

    async def deliver(self: Courier, *chunk: Any) -> Any:
        there = self._sink
        self._sink = _Nowhere(there.traits)
        predicted = await real(self, *chunk)
        self._sink = there
        asyncio.ensure_future(_unheard(real(self, *chunk)))  # noqa: RUF006 - that nobody waits is the bug
        return predicted

    patch.setattr(Courier, "deliver", deliver)


class _Nowhere:
    """A target that takes everything and has nothing."""

    def __init__(self, traits: SinkTraits) -> None:
        self.traits = traits

    async def send(self, batch: Batch) -> list[Delivery]:
        return [Delivery(Disposition.DELIVERED, "ok") for _ in batch.messages]

    async def close(self) -> None: ...


async def _unheard(sending: Awaitable[Any]) -> None:
    with suppress(BaseException):
        await sending


def go_on_whoever_else_did(patch: Patch) -> None:
    """A worker that finds another's intent or outcome there goes on, as if it were its own."""
    real = shard.create_once

    async def create_once(stream: Stream, key: str, body: bytes) -> None:
        await real(stream, key, body)

    patch.setattr(shard, "create_once", create_once)


def answer_though_taken_over(patch: Patch) -> None:
    """A writer does not ask whose the stream is, after its segment has landed."""
    patch.setattr(landing, "check_epoch", _nobody_asks)


def rebuild_though_taken_over(patch: Patch) -> None:
    """A reindex does not ask whose the stream is."""
    patch.setattr(reindexing, "check_epoch", _nobody_asks)


def plan_though_taken_over(patch: Patch) -> None:
    """A plan does not ask whose the stream is, after its listing."""
    patch.setattr(snapshot, "check_epoch", _nobody_asks)


async def _nobody_asks(_: Stream) -> None: ...


def accept_again_by_the_clock(patch: Patch) -> None:
    """Whether an event has expired is judged by the clock, and not by the stamp of the segment that would
    have it next."""
    patch.setattr(Deciding, "_is_expiring", lambda *_: False)

    def is_dead(self: Deciding, found: Any, ours: Any) -> bool:
        return found.generation < ours.generation or self._has_expired(found, self._stream.clock.now())

    patch.setattr(Deciding, "_is_dead", is_dead)


class Plant(NamedTuple):
    """A bug, and the kind of schedule that is to find it. `step`: in DESIGN's words; ● where it is marked."""

    plant: Callable[[Patch], None]
    step: str
    kind: str = "capture, OnWrite"

    @property
    def name(self) -> str:
        return self.plant.__name__.replace("_", " ")


PLANTS = (
    Plant(forget_who_counts, "● a segment counts if the newest record lists it"),
    Plant(
        count_whatever_landed,
        "● … or if its generation is the newest record's, and no other",
        "life, OnWrite",
    ),
    Plant(trust_the_dead, "● an entry of an older generation is dead, even if its segment landed"),
    Plant(believe_a_void, "● a segment counts for an event if it holds an ACCEPTED row for it"),
    Plant(do_not_look_at_the_generation_again, "● read the generation again before the PUT"),
    Plant(answer_though_fenced, "● the manifest row fails: answer nothing"),
    Plant(fence_nobody, "● fence before the listing"),
    Plant(
        go_on_with_anothers_record, "● another's record of this generation: start again", "racing rebuilds"
    ),
    Plant(ready_whoever_asks, "● ready only with our own nonce"),
    Plant(believe_a_reservation, "a reservation whose segment never landed is worth nothing"),
    Plant(answer_before_durable, "an answer is given when the event is durable"),
    Plant(overwrite_by_a_duplicate, "put if absent"),
    Plant(answer_though_taken_over, "a takeover raises an epoch that a writer checks", "life, OnWrite"),
    Plant(rebuild_though_taken_over, "… and a reindex", "life, OnWrite"),
    Plant(plan_though_taken_over, "… and a plan", "slow life, OnWrite"),
    Plant(
        accept_again_by_the_clock,
        "an expired event is accepted by a later segment",
        "slow life and expiry, OnWrite",
    ),
    Plant(leave_out_the_listing, "a plan lists the recent hours", "life, OnWrite"),
    Plant(
        do_not_look_whether_it_was_rebuilt,
        "{generation, ready} is read again after the listing",
        "slow life, OnWrite",
    ),
    Plant(pin_nothing, "the first use of an asOf pins its snapshot", "life, OnWrite"),
    Plant(include_the_end, "windows are half-open", "life, OnWrite"),
    Plant(write_the_outcome_before_sending, "the outcome after the chunk", "replay"),
    Plant(go_on_whoever_else_did, "intents and outcomes are created conditionally", "replay"),
)
