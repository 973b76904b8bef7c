"""A shard's lease: it keeps two workers from doing the same work. What keeps them from doing harm are the
conditional objects of the run, so a lease that is lost unseen costs no more than one chunk sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from pik.domain.errors import LeaseLost
from pik.execution.stream import Stream

T = TypeVar("T")


class Lease:
    """Held by `holder` for `seconds`, and renewed when a third of them has passed."""

    def __init__(self, stream: Stream, name: str, holder: str, seconds: float) -> None:
        self._stream = stream
        self._name = name
        self._holder = holder
        self._seconds = seconds
        self._renewed = 0

    async def take(self) -> None:
        """Raises `LeaseLost` while another holder has it."""
        now = self._stream.clock.now()
        if not await self._stream.index.acquire(self._name, self._holder, now, self._seconds):
            raise LeaseLost(f"another worker has the lease {self._name}")
        self._renewed = now.micros

    async def keep(self) -> None:
        """Renews it if it is time. Raises `LeaseLost`."""
        if self._stream.clock.now().micros - self._renewed > self._seconds * 1_000_000 / 3:
            await self.take()

    async def sleep(self, seconds: float) -> None:
        """Waits, and keeps the lease meanwhile. Raises `LeaseLost`."""
        while seconds > 0:
            step = min(seconds, self._seconds / 3)
            await self._stream.clock.sleep(step)
            seconds -= step
            await self.keep()

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Does it, and keeps the lease meanwhile. Raises `LeaseLost`; the work is cancelled then."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([task], timeout=self._seconds / 3))[0]:
                await self.keep()
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def release(self) -> None:
        await self._stream.index.release(self._name, self._holder)
