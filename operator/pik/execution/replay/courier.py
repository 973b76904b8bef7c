"""Brings one chunk after the other to the target: in order, at the pace, again where it must be."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import msgspec

from pik.api.replay_job import ErrorAction
from pik.domain.errors import TargetUnavailable
from pik.execution.replay.lease import Lease
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.settings import ShardSettings
from pik.planning.envelope import cloud_event, delivery_key
from pik.planning.replay.batches import batches, waves
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import LedgerEntry, Result
from pik.ports.selection import ReplayEvent
from pik.ports.sinks import Batch, Delivery, Disposition, Message, Sink
from pik.ports.system import Clock, Entropy


class Delivered(msgspec.Struct, frozen=True):
    """What became of a chunk. `stopped`: not all of it was begun, since an event failed with onError Stop."""

    entries: list[LedgerEntry]  # in plan order
    failed_entities: list[str]
    sent_bytes: int
    stopped: bool


class Answered(msgspec.Struct, frozen=True, gc=False):
    delivery: Delivery
    attempts: int


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
    ) -> None:
        self._plan = plan
        self._shard = shard
        self._sink = sink
        self._dead_letter = dead_letter
        self._pacer = pacer
        self._lease = lease
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._stale = frozenset(plan.stale_entities)

    async def deliver(
        self, chunk: int, start: int, events: Sequence[ReplayEvent], held: Collection[str]
    ) -> Delivered:
        """Sends what is to be sent of these events, which begin at position `start`; those of `held` entities
        are not.

        Raises `TargetUnavailable` when its tries are used up, `LeaseLost`, and what the sink raises: what was
        sent of the chunk is then in doubt.
        """
        messages = [self._message(event) for event in events]
        found: dict[int, tuple[Result, Answered | None]] = {}
        to_send = [n for n, event in enumerate(events) if event.entity_id not in self._stale]
        failed: dict[str, None] = {}  # in order
        stopped = False
        order = self._sink.traits.order
        for wave in waves([events[n].entity_id for n in to_send], self._plan.spec.order, order):
            going = [to_send[n] for n in wave]
            held_now = [n for n in going if self._is_held(events[n].entity_id, held, failed)]
            found.update((n, (Result.HELD, None)) for n in held_now)
            going = [n for n in going if n not in found]
            answers = await self._send_wave(chunk, messages, going)
            for n, answered in answers.items():
                delivered = answered.delivery.disposition is Disposition.DELIVERED
                found[n] = (Result.SENT if delivered else Result.FAILED, answered)
                if not delivered:
                    failed[events[n].entity_id] = None
            if self._is_last(answers):
                stopped = True
                break
        dead = await self._bury(chunk, messages, found)
        entries = [
            self._entry(start + n, messages[n], *found.get(n, (Result.SKIPPED, None)), n in dead)
            for n in range(len(events))
            if n in found or events[n].entity_id in self._stale
        ]
        sent_bytes = sum(len(events[n].data) for n, (result, _) in found.items() if result is Result.SENT)
        return Delivered(entries, list(failed), sent_bytes, stopped)

    def _is_held(self, entity: str, held: Collection[str], failed: Collection[str]) -> bool:
        return self._plan.spec.on_error is ErrorAction.HOLD_ENTITY and (entity in held or entity in failed)

    def _is_last(self, answers: dict[int, Answered]) -> bool:
        """Whether nothing is begun after these answers."""
        return self._plan.spec.on_error is ErrorAction.STOP and any(
            answered.delivery.disposition is Disposition.REFUSED for answered in answers.values()
        )

    async def _send_wave(
        self, chunk: int, messages: Sequence[Message], wave: Sequence[int]
    ) -> dict[int, Answered]:
        """As many calls at once as the target takes; none is begun after one with which all ends."""
        traits = self._sink.traits
        most = min(traits.batch_events, self._pacer.batch or traits.batch_events)
        calls = batches(wave, [len(message.body) for message in messages], most, traits.batch_bytes)
        answers: dict[int, Answered] = {}
        waiting = iter(calls)
        stopped = False

        async def caller() -> None:
            nonlocal stopped
            while not stopped and (positions := next(waiting, None)) is not None:
                answered = await self._send(self._sink, chunk, messages, positions, paced=True)
                answers.update(answered)
                stopped = stopped or self._is_last(answered)

        callers = min(traits.in_flight, len(calls))
        if callers == 1:
            await caller()
            return answers
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(callers):
                    group.create_task(caller())
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        return answers

    async def _send(
        self, sink: Sink, chunk: int, messages: Sequence[Message], positions: Sequence[int], *, paced: bool
    ) -> dict[int, Answered]:
        """One call, repeated for the messages that may be taken later. It overtakes nothing: those of one
        call are of different entities, or the target keeps no order, or takes all or none."""
        answers: dict[int, Answered] = {}
        pending = list(positions)
        hidden = 0  # tries that a client underneath made by itself
        for attempt in range(1, self._settings.attempts + 1):
            if paced:
                await self._lease.sleep(self._pacer.take(len(pending)))
            await self._lease.keep()
            batch = Batch(
                self._plan.run_id, self._shard, chunk, tuple(messages[position] for position in pending)
            )
            deliveries = await sink.send(batch)
            later = []
            for position, delivery in zip(pending, deliveries, strict=True):
                if delivery.disposition is Disposition.RETRYABLE:
                    later.append((position, delivery))
                else:
                    answers[position] = Answered(delivery, attempt + hidden + delivery.tries - 1)
            if not later:
                return answers
            pending = [position for position, _ in later]
            last = later[0][1]
            hidden += last.tries - 1
            if attempt < self._settings.attempts:
                await self._lease.sleep(self._wait(attempt, [delivery for _, delivery in later]))
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

    async def _bury(
        self, chunk: int, messages: Sequence[Message], found: dict[int, tuple[Result, Answered | None]]
    ) -> frozenset[int]:
        """Sends the failed events to the dead letter queue, all of them or raises."""
        if self._dead_letter is None:
            return frozenset()
        failed = [n for n in sorted(found) if found[n][0] is Result.FAILED]
        traits = self._dead_letter.traits
        sizes = [len(message.body) for message in messages]
        for wave in waves([messages[n].event.entity_id for n in failed], self._plan.spec.order, traits.order):
            for call in batches([failed[n] for n in wave], sizes, traits.batch_events, traits.batch_bytes):
                answers = await self._send(self._dead_letter, chunk, messages, call, paced=False)
                for answered in answers.values():
                    if answered.delivery.disposition is not Disposition.DELIVERED:
                        raise TargetUnavailable(f"the dead letter queue refused: {answered.delivery.answer}")
        return frozenset(failed)

    def _message(self, event: ReplayEvent) -> Message:
        body = cloud_event(
            event_id=event.event_id,
            source=event.source,
            event_type=event.event_type,
            entity_id=event.entity_id,
            event_time_text=event.event_time_text,
            idempotency_key=event.idempotency_key,
            attributes=event.attributes,
            data=event.data,
            run_id=self._plan.run_id,
            stream_id=self._plan.stream_id,
        )
        copy = f"{event.segment}/{event.row}" if event.repeat else ""
        return Message(delivery_key(event.event_id, self._plan.run_id, copy), body, event)

    def _entry(
        self, position: int, message: Message, result: Result, answered: Answered | None, dead: bool
    ) -> LedgerEntry:
        return LedgerEntry(
            position=position,
            event_id=message.event.event_id,
            entity_id=message.event.entity_id,
            result=result,
            key=message.key,
            answer="" if answered is None else answered.delivery.answer,
            reason="" if answered is None else answered.delivery.reason,
            attempts=1 if answered is None else answered.attempts,
            dead_lettered=dead,
        )
