"""The machine's own time, randomness and threads."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from pik.domain.instants import Instant

P = ParamSpec("P")
T = TypeVar("T")


class SystemClock:
    def now(self) -> Instant:
        return Instant(time.time_ns() // 1_000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemEntropy:
    def hex(self, digits: int) -> str:
        return secrets.token_hex((digits + 1) // 2)[:digits]


class ThreadOffload:
    """`ports.Offload` on a pool of `threads`; work beyond that waits for its turn.

    A task that is cancelled leaves its work running to its end: a thread cannot be stopped.
    """

    def __init__(self, threads: int, name: str = "pik") -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args, **kwargs))

    def close(self) -> None:
        """Waits for the work under way; none is taken any more."""
        self._pool.shutdown()
