"""Where a replay sends to."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from pik.planning.replay.batches import TargetOrder

if TYPE_CHECKING:
    from pik.planning.replay.messages import Messages


class SinkTraits(msgspec.Struct, frozen=True):
    """What a target takes and promises."""

    batch_events: int  # most events of one call
    batch_bytes: int  # most bytes of one call's messages; a larger message is tried alone
    in_flight: int  # calls that may be under way at once
    order: TargetOrder
    remembers_seconds: float | None  # how long it drops repeats of a key; None: unknown
    longest_call: float = 0.0  # seconds that a call may take, where that may be longer than a lease


class Batch(msgspec.Struct, frozen=True):
    """One call's messages in plan order, and where they stand in the run; the same place in every try.
    `replay`: namespace/name of the ReplayJob; empty where there is none."""

    run_id: str
    shard: int
    chunk: int
    messages: Messages
    replay: str = ""


class Disposition(StrEnum):
    DELIVERED = "Delivered"
    RETRYABLE = "Retryable"  # not now, or nobody knows
    FAILED = "Failed"  # not this one, and nobody knows why: refused when all tries came to that
    REFUSED = "Refused"  # for good
    APART = "Apart"  # all of a call that failed as a whole: each half of it by itself


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
