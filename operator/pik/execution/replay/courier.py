"""Brings one chunk after the other to the target: in order, at the pace, again where it must be."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import compress

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pik.api.replay_job import ErrorAction
from pik.domain.errors import TargetUnavailable
from pik.execution.replay.fates import Fates
from pik.execution.replay.lease import Lease
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.settings import ShardSettings
from pik.planning.replay.batches import TargetOrder, batches, waves
from pik.planning.replay.messages import Messages
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import Failure, Result, Totals
from pik.ports.sinks import Batch, Delivery, Disposition, Sink
from pik.ports.system import Clock, Entropy


class Delivered(msgspec.Struct, frozen=True):
    """What became of a chunk. `stopped`: not all of it was begun, since an event failed with onError Stop."""

    ledger: memoryview  # lines in plan order
    totals: Totals
    failures: tuple[Failure, ...]  # the first MAX_FAILURES
    failed_entities: list[str]
    stopped: bool


class Courier:
    """One shard's way to its target. `dead_letter`: where refused events go, with that onError."""

    def __init__(
        self,
        plan: ReplayPlan,
        shard: int,
        *,
        sink: Sink,
        dead_letter: Sink | None,
        pacer: Pacer,
        lease: Lease,
        clock: Clock,
        entropy: Entropy,
        settings: ShardSettings,
        replay: str,
    ) -> None:
        """`replay`: as in `Batch`."""
        self._plan = plan
        self._replay = replay
        self._shard = shard
        self._sink = sink
        self._dead_letter = dead_letter
        self._pacer = pacer
        self._lease = lease
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._stale = frozenset(plan.stale_entities)

    async def deliver(self, chunk: int, start: int, messages: Messages, held: Collection[str]) -> Delivered:
        """Sends what is to be sent of these, which begin at position `start`; those of `held` entities
        are not.

        Raises `TargetUnavailable` when its tries are used up, `LeaseLost`, and what the sink raises: what was
        sent of the chunk is then in doubt.
        """
        entities = _Entities(messages.events)
        fates = Fates(messages)
        stopped = False
        for wave in self._waves(entities, self._not_stale(entities, fates)):
            going = self._not_held(entities, wave, held, fates)
            await self._send_wave(chunk, messages, going, fates)
            if self._is_over(fates):
                stopped = True
                break
        await self._bury(chunk, messages, entities, fates)
        return Delivered(
            ledger=fates.ledger(start),
            totals=fates.totals,
            failures=fates.failures,
            failed_entities=list(dict.fromkeys(entities.names[n] for n in fates.failed)),
            stopped=stopped,
        )

    def _not_stale(self, entities: _Entities, fates: Fates) -> Sequence[int]:
        if not self._stale:
            return range(entities.count)
        stale = [name in self._stale for name in entities.names]
        fates.unsent(list(compress(range(entities.count), stale)), Result.SKIPPED)
        return [n for n, is_stale in enumerate(stale) if not is_stale]

    def _waves(self, entities: _Entities, going: Sequence[int]) -> list[Sequence[int]]:
        order = self._sink.traits.order
        if order in (TargetOrder.NONE, TargetOrder.BATCH):  # without a look at the entities
            return [going] if going else []
        found = waves([entities.names[n] for n in going], self._plan.spec.order, order)
        return [[going[n] for n in wave] for wave in found]

    def _not_held(
        self, entities: _Entities, wave: Sequence[int], held: Collection[str], fates: Fates
    ) -> Sequence[int]:
        if self._plan.spec.on_error is not ErrorAction.HOLD_ENTITY or not (held or fates.failed):
            return wave
        failed = {entities.names[n] for n in fates.failed}
        staying = [n for n in wave if entities.names[n] in held or entities.names[n] in failed]
        fates.unsent(staying, Result.HELD)
        return sorted({*wave} - {*staying})

    def _is_over(self, fates: Fates) -> bool:
        """Whether nothing is begun any more."""
        return self._plan.spec.on_error is ErrorAction.STOP and bool(fates.failed)

    async def _send_wave(self, chunk: int, messages: Messages, wave: Sequence[int], fates: Fates) -> None:
        """As many calls at once as the target takes; none is begun after one with which all ends."""
        traits = self._sink.traits
        most = traits.batch_events
        if traits.order is not TargetOrder.BATCH:  # there the calls name what they make: always the same ones
            most = min(most, self._pacer.batch or most)
        calls = _calls(messages, wave, most, traits.batch_bytes)
        waiting = iter(calls)

        async def caller() -> None:
            while not self._is_over(fates) and (positions := next(waiting, None)) is not None:
                await self._send(self._sink, chunk, messages, positions, fates, paced=True)

        callers = min(traits.in_flight, len(calls))
        if callers <= 1:
            await caller()
            return
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(callers):
                    group.create_task(caller())
        except ExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _send(
        self,
        sink: Sink,
        chunk: int,
        messages: Messages,
        positions: Sequence[int],
        fates: Fates,
        *,
        paced: bool,
        tries: int = 0,
    ) -> None:
        """One call, repeated for the messages that may be taken later. It overtakes nothing: those of one
        call are of different entities, or the target keeps no order, or takes all or none. `tries`: that were
        made before, in larger calls."""
        pending = positions
        hidden = tries  # and those that a client underneath made by itself
        for attempt in range(1, self._settings.attempts + 1):
            if paced:
                await self._lease.sleep(self._pacer.take(len(pending)))
            await self._lease.keep()
            sending = sink.send(
                Batch(self._plan.run_id, self._shard, chunk, messages.at(pending), self._replay)
            )
            outlasting = sink.traits.longest_call > self._settings.lease_seconds / 2
            deliveries = await (self._lease.during(sending) if outlasting else sending)
            if deliveries[0].disposition is Disposition.APART:
                made = attempt + hidden - 1 + deliveries[0].tries
                half = len(pending) // 2
                for part in (range(half), range(half, len(pending))):
                    halved = [pending[n] for n in part]
                    if self._is_over(fates):  # they were in a call that failed, and are in no other
                        fates.give_up(list(zip(halved, deliveries, strict=False)), made)
                    else:
                        await self._send(sink, chunk, messages, halved, fates, paced=paced, tries=made)
                return
            later = fates.settle(pending, deliveries, attempt + hidden - 1)
            if not later:
                return
            pending = [position for position, _ in later]
            last = later[0][1]
            hidden += last.tries - 1
            if attempt < self._settings.attempts:
                await self._lease.sleep(self._wait(attempt, [delivery for _, delivery in later]))
        if all(delivery.disposition is Disposition.FAILED for _, delivery in later):
            fates.give_up(later, self._settings.attempts + hidden)
            return
        raise TargetUnavailable(
            f"{len(pending)} events were not taken in {self._settings.attempts} tries; the last answer: "
            f"{last.reason} {last.answer}"
        )

    def _wait(self, attempt: int, refused: Sequence[Delivery]) -> float:
        """Seconds until the next try: doubling with jitter, or what the target asked for."""
        asked = max((d.retry_after for d in refused if d.retry_after is not None), default=None)
        if asked is not None:
            if asked > self._settings.longest_asked_wait:
                raise TargetUnavailable(f"the target asked to be left alone for {asked:.0f} s")
            return asked
        wait = min(self._settings.longest_wait, self._settings.first_wait * 2.0 ** (attempt - 1))
        jitter: float = int(self._entropy.hex(4), 16) / 0xFFFF
        return wait * (0.5 + jitter / 2)

    async def _bury(self, chunk: int, messages: Messages, entities: _Entities, fates: Fates) -> None:
        """Sends the failed events to the dead letter queue, all of them or raises."""
        if self._dead_letter is None:
            return
        failed = sorted(fates.failed)
        traits = self._dead_letter.traits
        buried = Fates(messages)
        for wave in waves([entities.names[n] for n in failed], self._plan.spec.order, traits.order):
            going = [failed[n] for n in wave]
            for call in _calls(messages, going, traits.batch_events, traits.batch_bytes):
                await self._send(self._dead_letter, chunk, messages, call, buried, paced=False)
                if buried.failures:
                    raise TargetUnavailable(f"the dead letter queue refused: {buried.failures[0].message}")
        fates.bury(failed)


class _Entities:
    """The entity of each event, by position; looked at only where it matters."""

    def __init__(self, events: pa.RecordBatch) -> None:
        self._column = events.column("entity_id")
        self.count = events.num_rows

    @cached_property
    def names(self) -> list[str]:
        found: list[str] = self._column.to_pylist()
        return found


def _calls(messages: Messages, wave: Sequence[int], events: int, size: int) -> Sequence[Sequence[int]]:
    sizes = pc.binary_length(messages.bodies)
    if 0 < len(wave) <= events and pc.sum(sizes).as_py() <= size:
        return [wave]
    return batches(wave, sizes.to_pylist(), events, size)
