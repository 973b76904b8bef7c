"""A run's shards, side by side in one process or each in one of its own."""

from __future__ import annotations

import asyncio

import msgspec

from pik.domain.errors import LeaseLost, NoSuchTable, TargetUnavailable, Unavailable
from pik.execution.replay.conclusion import conclude, failed_end
from pik.execution.replay.runs import planned, read_end
from pik.execution.replay.shard import run_shard
from pik.execution.replay.tools import Tools
from pik.execution.stream import Stream
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import End, EndState

_FIRST_PAUSE = 1.0  # seconds before a failed shard is tried again; each further pause doubles
_LONGEST_PAUSE = 60.0
_LOOK_UP = 1.0  # seconds between two looks at whether to halt
_AWAY = 8  # failures in a row of what a shard works with


async def run_replay(stream: Stream, run_id: str, tools: Tools, parallelism: int) -> End | None:
    """Sends what is left of a run that was begun, and records how it ended. None: halted, to be gone on with.

    A run that has ended is not touched: nothing is sent. A shard whose target is unavailable is tried again
    retriesPerShard times; one that another worker has is waited for. Raises what `run_shard` raises but for
    these two, and `Incomplete` where what was sent is not what was planned.
    """
    if (done := await read_end(stream, run_id)) is not None:
        return done
    plan = await planned(stream, run_id)
    async with tools.selector.together(plan) as selector:
        work = _Run(stream, plan, msgspec.structs.replace(tools, selector=selector))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(parallelism, plan.spec.shards)):
                    group.create_task(work.worker())
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
    if work.failed is None and len(work.ends) < plan.spec.shards:
        return await read_end(stream, run_id)  # halted, or ended by another worker
    return await conclude(stream, plan, list(work.ends.values()), work.failed)


async def run_one(stream: Stream, run_id: str, shard: int, tools: Tools) -> End | None:
    """What `run_shard` does, for a worker that has this shard only: while another worker has it, and while
    AWS is away, it is waited for. None: halted.

    Raises what `run_shard` raises but for `LeaseLost`; `Unavailable` and `NoSuchTable` after some minutes.
    `TargetUnavailable` is raised at once: whoever started the worker counts how often it is tried.
    """
    failures = 0
    while not tools.halted():
        began = stream.clock.now().micros
        try:
            end = await run_shard(stream, run_id, shard, tools)
            if end is not None:
                return end  # else it is halted, or the run has ended: the next look tells
        except LeaseLost as error:
            tools.observer.retrying(shard, error)
            await _pause(stream, tools, tools.settings.lease_seconds / 3)
        except (Unavailable, NoSuchTable) as error:
            if stream.clock.now().micros - began > _LONGEST_PAUSE * 1_000_000:
                failures = 0
            failures += 1
            if failures >= _AWAY:
                raise
            tools.observer.retrying(shard, error)
            await _pause(stream, tools, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (failures - 1)))
    return None


class _Run:
    def __init__(self, stream: Stream, plan: ReplayPlan, tools: Tools) -> None:
        self._stream = stream
        self._plan = plan
        self._waiting = list(range(plan.spec.shards))
        self._outer = tools
        self._tools = msgspec.structs.replace(tools, halted=self._halted)
        self.ends: dict[int, End] = {}
        self.failed: End | None = None

    def _halted(self) -> bool:
        return self.failed is not None or self._outer.halted()

    async def worker(self) -> None:
        """Takes shards until none is left."""
        while self._waiting and not self._halted():
            shard = self._waiting.pop(0)
            end = await self._shard(shard)
            if end is None:
                return
            self.ends[shard] = end
            if end.state is EndState.FAILED and self.failed is None:
                self.failed = end

    async def _shard(self, shard: int) -> End | None:
        failures = 0
        while not self._halted():
            try:
                return await run_shard(self._stream, self._plan.run_id, shard, self._tools)
            except LeaseLost as error:
                self._tools.observer.retrying(shard, error)
                await _pause(self._stream, self._tools, self._tools.settings.lease_seconds / 3)
            except TargetUnavailable as error:
                self._tools.observer.retrying(shard, error)
                failures += 1
                if failures > self._plan.spec.retries_per_shard:
                    message = f"shard {shard} failed {failures} times, at last: {error}"
                    return await failed_end(self._stream, self._plan.run_id, shard, message)
                wait = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (failures - 1))
                await _pause(self._stream, self._tools, wait)
        return None


async def _pause(stream: Stream, tools: Tools, seconds: float) -> None:
    while seconds > 0 and not tools.halted():
        step = min(seconds, _LOOK_UP)
        await stream.clock.sleep(step)
        seconds -= step
