"""Work that outlasts a pass: begun by one, looked at by later ones, and the object woken when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pik.controller.objects import ObjectKey

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """The work's result."""

    value: T


@dataclass(slots=True)
class _Work:
    token: str
    task: asyncio.Task[object]


class Background:
    """At most one piece of work for each object and name. Nothing of it is remembered over a restart: work is
    such that it can be begun again. Belongs to one event loop."""

    def __init__(self, wake: Callable[[ObjectKey], None]) -> None:
        self._wake = wake
        self._works: dict[tuple[ObjectKey, str], _Work] = {}
        self.halting = False  # work that can stop in a good place should: it is about to be cancelled

    def poll(
        self, key: ObjectKey, name: str, token: str, begin: Callable[[], Awaitable[T]]
    ) -> Finished[T] | None:
        """The result of this work, handed out once; None while it goes on. Begins it where it is not under
        way; work of another `token` (of an older spec, say) is cancelled and its result dropped.

        Raises what the work raised, once: the next poll begins it again. While work is being halted none is
        begun.
        """
        work = self._works.get((key, name))
        if work is not None and work.token != token:
            work.task.cancel()
            work = None
        if work is None and self.halting:
            return None
        if work is None:
            task: asyncio.Task[object] = asyncio.ensure_future(_run(begin))
            self._works[key, name] = _Work(token, task)
            task.add_done_callback(lambda ended: self._ended(key, ended))
            return None
        if not work.task.done():
            return None
        del self._works[key, name]
        if work.task.cancelled():
            return None
        return Finished(work.task.result())  # type: ignore[arg-type]

    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return all(work.task.done() for work in self._works.values())

    def _ended(self, key: ObjectKey, task: asyncio.Task[object]) -> None:
        if not task.cancelled():
            task.exception()  # seen: whoever polls is told, and nobody else has to be
            self._wake(key)

    def is_known(self, key: ObjectKey, name: str) -> bool:
        """Whether it is under way, or has a result that nobody has asked for."""
        return (key, name) in self._works

    def is_running(self, key: ObjectKey, name: str) -> bool:
        work = self._works.get((key, name))
        return work is not None and not work.task.done()

    def drop(self, key: ObjectKey, name: str) -> None:
        """Forgets work that has ended: nobody needs its result any more."""
        work = self._works.get((key, name))
        if work is not None and work.task.done():
            del self._works[key, name]

    def cancel(self, key: ObjectKey, name: str) -> None:
        """Ends this work, and forgets it."""
        work = self._works.pop((key, name), None)
        if work is not None:
            work.task.cancel()

    async def stop(self, key: ObjectKey) -> None:
        """Cancels the object's work and waits until it has ended."""
        await self._cancel([at for at in self._works if at[0] == key])

    async def close(self, grace: float) -> None:
        """Gives work `grace` seconds to stop where it can go on later, then cancels it, and waits until all
        has ended."""
        self.halting = True
        tasks = [work.task for work in self._works.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        await self._cancel(list(self._works))

    async def _cancel(self, places: list[tuple[ObjectKey, str]]) -> None:
        tasks = [self._works.pop(place).task for place in places]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(begin: Callable[[], Awaitable[T]]) -> T:
    return await begin()
