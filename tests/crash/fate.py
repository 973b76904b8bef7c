"""Ports that end their own process at a step. What is behind them is the real thing."""

from __future__ import annotations

import asyncio
import inspect
import io
import mmap
import os
import re
import signal
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pyarrow.parquet as pq

from crash.steps import Step, When

T = TypeVar("T")
_COUNTS = struct.Struct("QQ")
_UNDER_WAY = 0.004  # seconds at most that a call goes on before its process ends within it


class Counts:
    """Calls begun and ended by one process, in a file that outlives it."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(bytes(_COUNTS.size))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _COUNTS.size)

    @property
    def begun(self) -> int:
        return int(_COUNTS.unpack(self._map)[0])

    @property
    def under_way(self) -> int:
        begun, ended = _COUNTS.unpack(self._map)
        return int(begun - ended)

    def add(self, begun: int, ended: int) -> None:
        before = _COUNTS.unpack(self._map)
        _COUNTS.pack_into(self._map, 0, before[0] + begun, before[1] + ended)


class Hit(msgspec.Struct, frozen=True):
    """A line of the log: a process came to its step, and ended (or stood still)."""

    step: str
    pid: int
    under_way: int  # calls, the one that it ended at among them
    at: float  # time.time()


class Doom:
    """Every call of this process goes through here. It is also told of every AWS request."""

    def __init__(self, step: Step | None, log: Path, counts: Counts) -> None:
        self._step = step
        self._log = log
        self._counts = counts
        self._seen = 0
        self._open: Counter[str] = Counter()

    async def through(self, call: str, about: str, work: Callable[[], Awaitable[T]]) -> T:
        here = self._is_here(call, about)
        if here is When.BEFORE:
            self.end()
        self._open[call] += 1
        self._counts.add(1, 0)
        try:
            if here is When.WITHIN:
                going = asyncio.ensure_future(work())
                await asyncio.sleep(int.from_bytes(os.urandom(2)) / 0xFFFF * _UNDER_WAY)
                self.end()
                return await going
            return await work()
        finally:
            if here is When.AFTER:  # also where the answer was that it is there already
                self.end()
            self._open[call] -= 1
            self._counts.add(0, 1)

    def answered(self, service: str, operation: str, *_: Any) -> None:
        """As `pik.aws.observing.AwsObserver`; from any thread."""
        if self._is_here(f"aws.{service}.{operation}", "") is not None:
            self.end()

    def end(self) -> None:
        step = self._step
        assert step is not None
        hit = Hit(step.name, os.getpid(), self._counts.under_way, time.time())
        with self._log.open("ab", buffering=0) as log:
            log.write(msgspec.json.encode(hit) + b"\n")
        if step.stop:
            self._step = None
        os.kill(os.getpid(), signal.SIGSTOP if step.stop else signal.SIGKILL)

    def _is_here(self, call: str, about: str) -> When | None:
        step = self._step
        if step is None or not re.fullmatch(step.call, call) or not re.search(step.about, about):
            return None
        if step.during and not self._open[step.during]:
            return None
        self._seen += 1
        return step.when if self._seen == step.nth else None


class Doomed:
    """A port whose calls go through a `Doom`; what is not a coroutine function is passed on as it is."""

    def __init__(self, name: str, inner: Any, doom: Doom) -> None:
        self._name = name
        self._inner = inner
        self._doom = doom

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._inner, method)
        if not inspect.iscoroutinefunction(found):
            return found
        call = f"{self._name}.{method}"

        async def doomed(*args: Any, **kwargs: Any) -> Any:
            return await self._doom.through(call, _about(args), lambda: found(*args, **kwargs))

        return doomed


def _about(args: tuple[Any, ...]) -> str:
    """A key or a lease; a raw key says besides whether the object is a void."""
    if not args or not isinstance(args[0], str):
        return ""
    if "/raw/" not in args[0] or len(args) < 2:
        return str(args[0])
    empty = pq.read_metadata(io.BytesIO(args[1])).num_rows == 0
    return f"{args[0]}#{'void' if empty else 'segment'}"


def doomed_app(app: Any, doom: Doom) -> Any:
    """An ASGI application whose answers go through a `Doom`: their head and their body. A request is under
    way from its first byte to its last."""

    async def called(scope: Any, receive: Any, send: Any) -> None:
        async def doomed_send(message: Any) -> None:
            part = "head" if message["type"] == "http.response.start" else "body"
            await doom.through(f"http.{part}", scope["path"], lambda: send(message))

        await doom.through("http.request", scope["path"], lambda: app(scope, receive, doomed_send))

    return called
