"""The target of simulated replays: what it took, and what it says where an answer is lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from pik.domain.errors import LeaseLost, PikError, Unavailable
from pik.execution.replay.tools import Unobserved
from pik.planning.replay.batches import TargetOrder
from pik.planning.replay.messages import Message
from pik.ports.sinks import Batch, Delivery, Disposition, SinkTraits
from simulation.world import Process, World

TRAITS = (
    SinkTraits(3, 262_144, 2, TargetOrder.MESSAGE, None),
    SinkTraits(10, 262_144, 4, TargetOrder.MESSAGE, 300.0),
    SinkTraits(1_000, 2**30, 1, TargetOrder.BATCH, None),
)


@dataclass(frozen=True)
class Taken:
    """A message as it arrived."""

    run_id: str
    key: str
    event_id: str
    entity_id: str
    body: bytes


@dataclass
class Target:
    """What arrived, in order of arrival, repeats included. Several sinks share it."""

    received: list[Taken] = field(default_factory=list)


class SimulatedSink:
    """`ports.Sink` of one process."""

    def __init__(self, process: Process, target: Target, traits: SinkTraits) -> None:
        self._process = process
        self._target = target
        self._traits = traits

    @property
    def traits(self) -> SinkTraits:
        return self._traits

    async def send(self, batch: Batch) -> list[Delivery]:
        def effect() -> list[Delivery]:
            self._target.received += [_taken(batch.run_id, message) for message in batch.messages]
            delivery = Delivery(Disposition.DELIVERED, "ok", tries=self._process.tries)
            return [delivery] * len(batch.messages)

        try:
            return await self._process.call("sink.send", effect)
        except Unavailable as error:
            return [Delivery(Disposition.RETRYABLE, str(error), "Unavailable")] * len(batch.messages)

    async def close(self) -> None: ...


def _taken(run_id: str, message: Message) -> Taken:
    return Taken(run_id, message.key, message.event_id, message.entity_id, message.body)


class Noted(Unobserved):
    """Counts what a run's shards meet."""

    def __init__(self, world: World) -> None:
        self._world = world

    def retrying(self, shard: int, error: PikError) -> None:
        self._world.note("leases lost" if isinstance(error, LeaseLost) else "shards tried again")
