"""An event loop on virtual time: nothing waits, and the same seed runs the same schedule.

A schedule is some thousand turns of it, so it leaves out what asyncio's own loop does for files, signals,
threads and debugging.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


MOST_TURNS = 200_000


class Deadlock(Exception):
    """Nothing is ready and nothing is scheduled, but the main task is not done."""


class Endless(Exception):
    """The schedule goes on and on: fifty times as long as one that ends."""


class Handle:
    """What is to be called, and in which context; `asyncio.Handle` and `TimerHandle` at once."""

    __slots__ = ("_call", "_when")

    def __init__(self, call: Callable[[], object], when: float = 0.0) -> None:
        self._call: Callable[[], object] | None = call
        self._when = when

    def cancel(self) -> None:
        self._call = None

    def cancelled(self) -> bool:
        return self._call is None

    def when(self) -> float:
        return self._when

    def run(self) -> None:
        if self._call is not None:
            self._call()


class VirtualLoop(asyncio.BaseEventLoop):
    """Has no file descriptors and no threads; `time()` is virtual seconds since the loop was made."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._soon: deque[Handle] = deque()
        self._later: list[tuple[float, int, Handle | asyncio.Future[None]]] = []
        self._made = 0  # timers, so that those of one time go in the order in which they were made
        self._turns = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_exception_handler(lambda *_: None)

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        run = (contextvars.copy_context() if context is None else context).run
        handle = Handle(lambda: run(callback, *args))
        self._soon.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        run = (contextvars.copy_context() if context is None else context).run
        handle = Handle(lambda: run(callback, *args), when)
        self._made += 1
        heapq.heappush(self._later, (when, self._made, handle))
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        self._tasks.append(task)
        return task

    def pause(self, seconds: float) -> asyncio.Future[None]:
        """What is done when so much time has passed: a cheaper `asyncio.sleep`."""
        future: asyncio.Future[None] = asyncio.Future(loop=self)
        self._made += 1
        heapq.heappush(self._later, (self._now + seconds, self._made, future))
        return future

    def end(self) -> None:
        """Cancels what is at work, sees it end, and closes."""
        self._turns = 0
        try:
            while left := [task for task in self._tasks if not task.done()]:
                for task in left:
                    task.cancel()
                self.run_until_complete(asyncio.wait(left))
        finally:
            self._tasks.clear()
            self._later.clear()
            self.close()

    def _run_once(self) -> None:
        """Runs until it is stopped. Raises `Deadlock` and `Endless`."""
        soon, later = self._soon, self._later
        while not self._stopping:  # type: ignore[attr-defined]
            self._turns += 1
            if self._turns > MOST_TURNS:
                raise Endless
            if soon:
                soon.popleft().run()
                continue
            if not later:
                raise Deadlock
            when, _, due = heapq.heappop(later)
            if when > self._now:
                self._now = when
            if isinstance(due, Handle):
                due.run()
            elif not due.done():
                due.set_result(None)


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop | None = None) -> T:
    """Runs to the end on virtual time, then ends what is still at work. Raises `Deadlock` and `Endless`.

    Nothing is collected meanwhile: when a cycle of garbage is found depends on all that the process has done
    before, and a generator that is found then would run a step of the schedule.
    """
    loop = loop or VirtualLoop()
    collecting = gc.isenabled()
    gc.disable()
    try:
        try:
            return loop.run_until_complete(main)
        finally:
            loop.end()
    finally:
        if collecting:
            gc.enable()


def schedules(seeds: Iterable[int]) -> Iterator[int]:
    """The seeds one after the other. The garbage of each schedule is collected after it, without a look at
    all that the process holds besides."""
    gc.collect()
    gc.freeze()
    try:
        for seed in seeds:
            yield seed
            gc.collect()
    finally:
        gc.unfreeze()
