"""Bounded repetition of calls whose answer was lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from pik.domain.errors import Unavailable
from pik.ports.system import Clock

T = TypeVar("T")


class Patience(msgspec.Struct, frozen=True):
    """How often to try, and how long to wait before the second try; each further wait doubles."""

    attempts: int = 6
    first_wait: float = 0.1  # seconds
    longest_wait: float = 5.0  # seconds


async def until_answered(clock: Clock, patience: Patience, call: Callable[[], Awaitable[T]]) -> T:
    """Repeats an idempotent call while it raises `Unavailable`; raises the last one when patience ends.

    The adapters retry too, within one call and with jitter; this is the protocol's own repetition across
    calls, on the clock that it is given, so that a simulation sees each try.
    """
    wait = patience.first_wait
    for _ in range(patience.attempts - 1):
        try:
            return await call()
        except Unavailable:
            await clock.sleep(wait)
            wait = min(wait * 2, patience.longest_wait)
    return await call()
