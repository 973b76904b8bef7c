"""The messages that come next: a piece is read and put into envelopes while those before it are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pyarrow as pa

from pik.domain.transform import Transform
from pik.planning.envelope import cloud_events
from pik.planning.replay.events import EVENTS, payload_bytes, transformed
from pik.planning.replay.messages import Messages
from pik.planning.replay.plan import ReplayPlan
from pik.ports.system import Offload

CHUNK_BYTES = 64 * 2**20
"""Of payloads in one chunk, at most, unless one event has more."""


class Ahead:
    """Over a selector's pieces. To be closed, whatever happened: a query may be at work."""

    def __init__(
        self,
        pieces: AsyncIterator[pa.RecordBatch],
        plan: ReplayPlan,
        offload: Offload,
        transform: Transform | None = None,
    ) -> None:
        """`transform`: what becomes of each payload before anything else is made of it."""
        self._pieces = pieces
        self._transform = transform
        self._plan = plan
        self._offload = offload
        self._read: list[Messages] = []
        self._rows = self._bytes = 0
        self._next: asyncio.Task[Messages | None] | None = None

    async def peek(self, count: int, least: int) -> Messages:
        """The next `count` messages; at least `least` where so many need no two pieces put together, and
        fewer where they have `CHUNK_BYTES` of payloads, or at the end. They come again until they are
        dropped."""
        return await self._gathered(count, least, CHUNK_BYTES)

    async def exactly(self, count: int) -> Messages:
        """The next `count` messages, however large; fewer only at the end."""
        return await self._gathered(count, count, None)

    async def _gathered(self, count: int, least: int, most_bytes: int | None) -> Messages:
        if self._next is None:
            self._next = asyncio.create_task(self._piece())
        while self._rows < least and (most_bytes is None or self._bytes < most_bytes):
            piece = await self._next
            if piece is None:
                break
            self._read.append(piece)
            self._rows += len(piece)
            self._bytes += payload_bytes(piece.events)
            self._next = asyncio.create_task(self._piece())
        if not self._read:
            return self._envelopes(pa.RecordBatch.from_pylist([], EVENTS))
        if len(self._read) > 1:
            self._read = [
                Messages(
                    self._plan.run_id,
                    pa.concat_arrays([piece.bodies for piece in self._read]),
                    pa.concat_batches([piece.events for piece in self._read]),
                )
            ]
        return self._read[0].between(0, count)

    def drop(self, count: int) -> None:
        """The first `count` of those that were peeked at are done with."""
        rest = self._read[0].between(count, self._rows)
        self._read = [rest] if len(rest) else []
        self._rows -= count
        self._bytes = payload_bytes(rest.events)

    async def aclose(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait({self._next})
            if not self._next.cancelled():
                self._next.exception()  # whoever closes does not ask for more; it is not to be warned of
        if isinstance(self._pieces, AsyncGenerator):
            await self._pieces.aclose()

    async def _piece(self) -> Messages | None:
        events = await anext(self._pieces, None)
        return None if events is None else await self._offload(self._envelopes, events)

    def _envelopes(self, events: pa.RecordBatch) -> Messages:
        run_id, stream_id = self._plan.run_id, self._plan.stream_id
        if self._transform is not None:
            events = transformed(events, self._transform)
        return Messages(run_id, cloud_events(events, run_id, stream_id).cast(pa.binary()), events)
