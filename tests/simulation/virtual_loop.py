"""An event loop on virtual time: nothing waits, and the same seed runs the same schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


MOST_TURNS = 100_000


class Deadlock(Exception):
    """Nothing is ready and nothing is scheduled, but the main task is not done."""


class Endless(Exception):
    """The schedule goes on and on: a thousand times as long as one that ends."""


class _Selector:
    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None) -> list[Any]:
        self._turns += 1
        if self._turns > MOST_TURNS:
            raise Endless
        if timeout is None:
            raise Deadlock
        self._loop.pass_time(timeout)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Has no file descriptors and no threads; `time()` is virtual seconds since the loop was made."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = _Selector(self)
        self.set_exception_handler(lambda *_: None)

    def time(self) -> float:
        return self._now

    def pass_time(self, seconds: float) -> None:
        if seconds > 0:
            self._now += seconds + 1e-9  # past the deadline, so that rounding never asks for it twice

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop | None = None) -> T:
    """Runs to the end on virtual time. Raises `Deadlock`."""
    loop = loop or VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.close()
