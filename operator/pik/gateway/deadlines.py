"""Tasks that may take so long and no longer, by one timer for all of them: one for each costs more than the
rest of reading a small request."""

from __future__ import annotations

import asyncio
from typing import Any


class Deadlines:
    """`seconds`: that each may take. Belongs to one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[asyncio.Task[Any], float] = {}  # in the order in which they are due
        self._overdue: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, task: asyncio.Task[Any]) -> None:
        """From now on; it is cancelled when it has taken too long. `end` has to follow."""
        loop = asyncio.get_running_loop()
        self._due[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look)

    def end(self, task: asyncio.Task[Any]) -> bool:
        """Whether it had taken too long: then it was cancelled, and is so no more. Not if others cancelled
        it, too."""
        self._due.pop(task, None)
        if task not in self._overdue:
            return False
        self._overdue.discard(task)
        return task.uncancel() == 0

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for task, due in list(self._due.items()):
            if due > loop.time():
                self._timer = loop.call_at(due, self._look)
                return
            del self._due[task]
            self._overdue.add(task)
            task.cancel()
