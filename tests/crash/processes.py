"""The processes of the campaign. Each is one of its own, and can be killed at any moment; what they have in
common is that the modules they need are loaded once, in a server from which they are forked."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from multiprocessing.context import ForkServerProcess as Process
from pathlib import Path
from typing import Any

import msgspec

from crash import roles
from crash.fate import Counts, Hit
from crash.roles import Order
from crash.steps import ANY_MOMENT, Fate

_LOADED = [
    *("boto3", "duckdb", "pyarrow.parquet", "uvicorn", "pik.cluster.jobs.process", "pik.cli.worker"),
    *("pik.execution.replay.duckdb_selector", "pik.execution.aggregate.compute", "pik.local.up"),
]
SERVING = ("capture", "pik up, capture", "pik up, work")
_ENDING = 240.0  # seconds that a process gets that nobody kills, on a busy machine too
_LOOK = 0.02  # seconds between two looks at what another process has done


class Lingers(Exception):
    """A process that should have come to its end has not; the text has what it printed."""


class Broken(Exception):
    """A process ended in a way that is neither its end nor its fate; the text has what it printed."""


async def until(what: str, holds: Callable[[], bool], seconds: float = _ENDING) -> None:
    """Returns once it holds. Raises `Lingers`."""
    end = asyncio.get_running_loop().time() + seconds
    while not holds():
        if asyncio.get_running_loop().time() > end:
            raise Lingers(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(_LOOK)


@dataclass(frozen=True)
class Kill:
    """`at`: the step's name, or `any moment`. `reached`: it came to the step itself. `under_way`: calls that
    were, at the moment it was killed."""

    role: str
    at: str
    reached: bool
    under_way: int

    @property
    def in_the_middle(self) -> bool:
        """Whether it had begun something and not ended it. One that serves may have had nothing to do; any
        other ends by itself when its work is done."""
        return (self.reached and self.at != ANY_MOMENT) or self.under_way > 0 or self.role not in SERVING


@dataclass
class Started:
    """A process at work. `home`: what it prints and leaves."""

    process: Process
    home: Path
    counts: Counts
    began: float

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def output(self) -> str:
        printed = self.home / "output"
        return printed.read_text(errors="replace")[-4000:] if printed.exists() else ""

    @property
    def result(self) -> Any:
        """What an errand came to."""
        return msgspec.json.decode((self.home / "result").read_bytes())

    def hits(self) -> list[Hit]:
        log = self.home / "hits"
        if not log.exists():
            return []
        return [msgspec.json.decode(line, type=Hit) for line in log.read_bytes().splitlines()]

    def signal(self, number: int) -> None:
        if self.process.exitcode is None:
            os.kill(self.pid, number)

    @property
    def stands_still(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].startswith("T")

    async def ready(self) -> None:
        """Once it can be told to end."""
        while not (self.home / roles.READY).exists() and not await self.ended(_LOOK):
            pass

    async def ended(self, seconds: float) -> bool:
        """Whether it has ended within this time."""
        if self.process.exitcode is not None:
            return True
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        loop.add_reader(self.process.sentinel, lambda: gone.done() or gone.set_result(None))
        try:
            await asyncio.wait([gone], timeout=seconds)
        finally:
            loop.remove_reader(self.process.sentinel)
        if not gone.done():
            return False
        self.process.join()
        return True


@dataclass
class Processes:
    """Starts them, and counts the kills. `directory`: where each has a folder."""

    endpoint: str
    directory: Path
    kills: list[Kill] = field(default_factory=list)
    started: list[Started] = field(default_factory=list)
    _context: ForkServerContext = field(default_factory=lambda: multiprocessing.get_context("forkserver"))

    def start(self, role: str, fate: Fate | None = None, **options: Any) -> Started:
        home = self.directory / f"{len(self.started):04d}-{role}"
        home.mkdir(parents=True)
        order = Order(role, self.endpoint, str(home), None if fate is None else fate.step, options)
        counts = Counts(home / "counts")
        self._context.set_forkserver_preload(_LOADED)
        process = self._context.Process(target=roles.run, args=(msgspec.json.encode(order),), daemon=True)
        process.start()
        made = Started(process, home, counts, asyncio.get_running_loop().time())
        self.started.append(made)
        return made

    async def suffer(self, started: Started, role: str, fate: Fate) -> Kill | None:
        """Waits until it has come to its fate. None: it came to its own end before."""
        while started.counts.begun == 0 and not await started.ended(_LOOK):
            pass
        under_way = 0
        if not await started.ended(fate.seconds):
            under_way = started.counts.under_way
            started.signal(signal.SIGKILL)
            await started.ended(_ENDING)
        if started.process.exitcode != -signal.SIGKILL:
            return None
        hits = started.hits()
        if hits:
            under_way = hits[-1].under_way
        kill = Kill(role, fate.name, bool(hits) or fate.step is None, under_way)
        self.kills.append(kill)
        return kill

    async def until_done(
        self,
        role: str,
        fates: list[Fate],
        shown: str,
        ends: Callable[[int], bool] = lambda code: code == 0,
        **options: Any,
    ) -> Started:
        """Started again and again, with one fate after the other, until it comes to its end. Raises `Broken`
        and `Lingers`."""
        for fate in fates:
            started = self.start(role, fate, **options)
            if await self.suffer(started, shown, fate) is None:
                self._check(started, ends)
                return started  # it was done before its fate
        started = self.start(role, **options)
        if not await started.ended(_ENDING):
            started.signal(signal.SIGKILL)
            raise Lingers(f"{shown}: {started.output}")
        self._check(started, ends)
        return started

    def _check(self, started: Started, ends: Callable[[int], bool]) -> None:
        code = started.process.exitcode
        if code is None or not ends(code):
            raise Broken(f"{started.home.name} ended with {code}: {started.output}")

    async def stop(self) -> None:
        """Ends all that are left."""
        for each in self.started:
            each.signal(signal.SIGKILL)
        for each in self.started:
            await each.ended(_ENDING)
