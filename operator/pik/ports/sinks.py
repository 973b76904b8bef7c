"""Where a replay sends to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, Protocol

import msgspec
import pyarrow as pa

from pik.planning.envelope import delivery_keys
from pik.planning.json_columns import joined
from pik.planning.replay.batches import TargetOrder


class SinkTraits(msgspec.Struct, frozen=True):
    """What a target takes and promises."""

    batch_events: int  # most events of one call
    batch_bytes: int  # most bytes of one call's messages; a larger message is tried alone
    in_flight: int  # calls that may be under way at once
    order: TargetOrder
    remembers_seconds: float | None  # how long it drops repeats of a key; None: unknown


class Message(NamedTuple):
    """An event on its way. `key` is the same in every try of one run (planning.envelope.delivery_keys)."""

    key: str
    body: bytes  # the CloudEvent, as JSON text
    event_id: str
    entity_id: str


@dataclass(frozen=True)
class Messages:
    """Events on their way, as columns of one length; each by itself to those who iterate."""

    run_id: str
    bodies: pa.BinaryArray  # CloudEvents as JSON text
    events: pa.RecordBatch  # columns of planning.replay.events

    @cached_property
    def keys(self) -> pa.StringArray:
        """Of planning.envelope.delivery_keys."""
        return joined(*delivery_keys(self.events, self.run_id))

    def __len__(self) -> int:
        return len(self.bodies)

    def __iter__(self) -> Iterator[Message]:
        entities = (self.events.column(name).to_pylist() for name in ("event_id", "entity_id"))
        columns = (self.keys.to_pylist(), self.bodies.to_pylist(), *entities)
        return map(Message._make, zip(*columns, strict=True))

    def between(self, start: int, end: int) -> Messages:
        """Those from position `start` to before `end`, or to the last."""
        return Messages(
            self.run_id, self.bodies.slice(start, end - start), self.events.slice(start, end - start)
        )

    def at(self, positions: Sequence[int]) -> Messages:
        """Those at these positions, which ascend."""
        first, last = positions[0], positions[-1]
        if last - first == len(positions) - 1:
            return self if len(positions) == len(self) else self.between(first, last + 1)
        chosen = pa.array(positions, pa.int64())
        return Messages(self.run_id, self.bodies.take(chosen), self.events.take(chosen))


class Batch(msgspec.Struct, frozen=True):
    """One call's messages in plan order, and where they stand in the run; the same place in every try."""

    run_id: str
    shard: int
    chunk: int
    messages: Messages


class Disposition(StrEnum):
    DELIVERED = "Delivered"
    RETRYABLE = "Retryable"  # not now, or nobody knows
    REFUSED = "Refused"  # for good


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """What a target said to one message. `answer`: its own words, shortened, without a payload. `reason`: one
    CamelCase word, of what was not delivered. `retry_after`: seconds that it asked to be left alone.
    `tries`: more than 1 where a client underneath repeated the call by itself."""

    disposition: Disposition
    answer: str
    reason: str = ""
    retry_after: float | None = None
    tries: int = 1


class Sink(Protocol):
    """A target. Nothing is sent before the first `send`."""

    @property
    def traits(self) -> SinkTraits: ...

    async def send(self, batch: Batch) -> list[Delivery]:
        """One try; one delivery a message, in order. Never retries: who calls does, with the same keys.

        Raises `TargetForbidden` where the address is one that nothing is sent to, and `Denied` where the
        credentials in use may not; no message was taken then.
        """
        ...

    async def close(self) -> None: ...
