"""Valid arrivals column by column: what a batch is where nothing has to be decided for each of them.

An object for each event takes more time than all that is done with most of its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec

from pik.domain.arrivals import OVERHEAD, Arrival, Outcome
from pik.domain.instants import Instant


class Columns(msgspec.Struct, frozen=True, eq=False):
    """Lists of one length, as `Arrival` has the fields; its event time is two of them."""

    event_id: list[str]
    source: list[str]
    event_type: list[str]
    entity_id: list[str]
    event_micros: list[int]
    event_rest: list[str]
    event_time_text: list[str]
    received_time: list[Instant | None]
    idempotency_key: list[str | None]
    payload_sha256: list[str]
    fingerprint: list[str]
    data: list[bytes]
    attributes: list[str | None]
    replay_of: list[str | None]
    headers: list[str | None]

    def __len__(self) -> int:
        return len(self.event_id)

    @property
    def size(self) -> int:
        """Bytes that they take to keep: the sum of `arrivals.size_of`."""
        texts = (self.data, self.entity_id, self.source, self.event_type)
        some = [filter(None, column) for column in (self.attributes, self.idempotency_key, self.headers)]
        lengths = sum(sum(map(len, each)) for each in texts) + sum(sum(map(len, each)) for each in some)
        return len(self) * OVERHEAD + lengths

    def sizes(self) -> Iterator[int]:
        """The same of each."""
        texts = (self.data, self.entity_id, self.source, self.event_type)
        some = zip(self.attributes, self.idempotency_key, self.headers, strict=True)
        for present, *lengths in zip(some, *(map(len, each) for each in texts), strict=True):
            yield OVERHEAD + sum(lengths) + sum(map(len, filter(None, present)))

    def with_headers(self, kept: str) -> Columns:
        """The same, that came with these headers."""
        return msgspec.structs.replace(self, headers=[kept] * len(self))

    def part(self, start: int, end: int) -> Columns:
        return Columns(*[column[start:end] for column in msgspec.structs.astuple(self)])

    def arrivals(self) -> list[Arrival]:
        """The same one by one."""
        return [
            Arrival(event_id, source, event_type, entity_id, Instant(micros, rest), *others)
            for event_id, source, event_type, entity_id, micros, rest, *others in zip(
                *msgspec.structs.astuple(self), strict=True
            )
        ]


def columns_of(arrivals: Sequence[Arrival]) -> Columns:
    """The reverse of `Columns.arrivals`."""
    times = [arrival.event_time for arrival in arrivals]
    return Columns(
        event_micros=[time.micros for time in times],
        event_rest=[time.rest for time in times],
        **{name: list(map(field, arrivals)) for name, field in _SAME},
    )


def joined(parts: Sequence[Columns | Sequence[Arrival]]) -> Columns:
    """One after the other. Arrivals that follow each other become columns together."""
    whole: list[Columns] = []
    loose: list[Arrival] = []
    for part in parts:
        if not isinstance(part, Columns):
            loose += part
            continue
        if loose:
            whole.append(columns_of(loose))
            loose = []
        whole.append(part)
    if loose or not whole:
        whole.append(columns_of(loose))
    if len(whole) == 1:
        return whole[0]
    lists = zip(*map(msgspec.structs.astuple, whole), strict=True)
    return Columns(*[list(chain.from_iterable(columns)) for columns in lists])


def recorded(arrivals: Columns) -> list[str]:
    """The outcomes of a segment in which nothing was decided."""
    word, replayed = Outcome.RECORDED.value, Outcome.REPLAYED.value
    return [word if run is None else replayed for run in arrivals.replay_of]


_SAME: list[tuple[str, Callable[[Arrival], Any]]] = [
    (name, attrgetter(name)) for name in Columns.__struct_fields__ if name in Arrival.__struct_fields__
]
