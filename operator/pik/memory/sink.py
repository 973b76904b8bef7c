"""A target in memory, with answers that a test decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pik.memory.hooks import Hook, unhooked
from pik.planning.replay.batches import TargetOrder
from pik.planning.replay.messages import Message
from pik.ports.sinks import Batch, Delivery, Disposition, SinkTraits

Answer = Callable[[Message], Awaitable[Delivery]]

TRAITS = SinkTraits(
    batch_events=10, batch_bytes=262_144, in_flight=4, order=TargetOrder.MESSAGE, remembers_seconds=None
)
DELIVERED = Delivery(Disposition.DELIVERED, "ok")


async def accept(_: Message) -> Delivery:
    """Everything is taken."""
    return DELIVERED


@dataclass
class MemoryTarget:
    """What arrived, in order of arrival, repeats included. Several sinks may share it."""

    received: list[tuple[Batch, Message]] = field(default_factory=list)

    @property
    def event_ids(self) -> list[str]:
        return [message.event_id for _, message in self.received]

    @property
    def keys(self) -> list[str]:
        return [message.key for _, message in self.received]


class MemorySink:
    """`ports.Sink`. A message that is answered DELIVERED is in the target before `after` is called, so that
    an `after` that raises is a lost answer; `answer` decides for each message."""

    def __init__(
        self,
        target: MemoryTarget,
        traits: SinkTraits = TRAITS,
        answer: Answer = accept,
        before: Hook = unhooked,
        after: Hook = unhooked,
    ) -> None:
        self._target = target
        self._traits = traits
        self._answer = answer
        self._before = before
        self._after = after

    @property
    def traits(self) -> SinkTraits:
        return self._traits

    async def send(self, batch: Batch) -> list[Delivery]:
        await self._before("sink.send")
        deliveries = []
        for message in batch.messages:
            delivery = await self._answer(message)
            if delivery.disposition is Disposition.DELIVERED:
                self._target.received.append((batch, message))
            deliveries.append(delivery)
        await self._after("sink.send")
        return deliveries

    async def close(self) -> None: ...
