"""Events on their way to a target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa

from pik.planning.envelope import delivery_keys
from pik.planning.json_columns import joined
from pik.planning.replay.events import HEADERS

_FEW = 8  # at most one in so many is few


class Message(NamedTuple):
    """An event on its way. `key` is the same in every try of one run (planning.delivery_key)."""

    key: str
    body: bytes  # the CloudEvent, as JSON text
    event_id: str
    entity_id: str
    headers: str | None = None  # JSON object of what it came with, where the target is sent some of it


@dataclass(frozen=True)
class Messages:
    """Events on their way, as columns of one length; each by itself to those who iterate."""

    run_id: str
    bodies: pa.BinaryArray  # CloudEvents as JSON text
    events: pa.RecordBatch  # columns of planning.replay.events
    made: Sequence[Message] | None = None  # the same one by one, where they were made before

    @cached_property
    def keys(self) -> pa.StringArray:
        """Of planning.delivery_key."""
        return joined(*delivery_keys(self.events, self.run_id))

    @cached_property
    def each(self) -> Sequence[Message]:
        """One by one."""
        if self.made is not None:
            return self.made
        entities = (self.events.column(name).to_pylist() for name in ("event_id", "entity_id"))
        headers = [None] * len(self)
        if HEADERS.name in self.events.schema.names:
            headers = self.events.column(HEADERS.name).to_pylist()
        columns = (self.keys.to_pylist(), self.bodies.to_pylist(), *entities, headers)
        return list(map(Message._make, zip(*columns, strict=True)))

    def __len__(self) -> int:
        return len(self.bodies)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.each)

    def between(self, start: int, end: int) -> Messages:
        """Those from position `start` to before `end`, or to the last."""
        return Messages(
            self.run_id, self.bodies.slice(start, end - start), self.events.slice(start, end - start)
        )

    def at(self, positions: Sequence[int]) -> Messages:
        """Those at these positions, which ascend."""
        first, last = positions[0], positions[-1]
        if last - first == len(positions) - 1:
            found = self if len(positions) == len(self) else self.between(first, last + 1)
        else:
            chosen = pa.array(positions, pa.int64())
            found = Messages(self.run_id, self.bodies.take(chosen), self.events.take(chosen))
        if len(positions) * _FEW <= len(self):  # made once for all, rather than for each of many small calls
            return replace(found, made=[self.each[position] for position in positions])
        return found
