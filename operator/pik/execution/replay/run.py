"""A whole run in one process: its shards side by side, tried again where they fail, and the run's end."""

from __future__ import annotations

import asyncio

import msgspec

from pik.api.conditions import Reason
from pik.domain.errors import Incomplete, LeaseLost, TargetUnavailable
from pik.execution.replay.checkpoint import read_checkpoint
from pik.execution.replay.runs import create_once, read_end, run_keys
from pik.execution.replay.shard import Tools, planned, run_shard
from pik.execution.stream import Stream
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import MAX_FAILURES, End, EndState, Totals
from pik.planning.replay.spec import order_caveat

_FIRST_PAUSE = 1.0  # seconds before a failed shard is tried again; each further pause doubles
_LONGEST_PAUSE = 60.0
_LOOK_UP = 1.0  # seconds between two looks at whether to halt


async def run_replay(stream: Stream, run_id: str, tools: Tools, parallelism: int) -> End | None:
    """Sends what is left of a run that was begun, and records how it ended. None: halted, to be gone on with.

    A run that has ended is not touched: nothing is sent. A shard whose target is unavailable is tried again
    retriesPerShard times; one that another worker has is waited for. Raises what `run_shard` raises but for
    these two, and `Incomplete` where what was sent is not what was planned.
    """
    if (done := await read_end(stream, run_id)) is not None:
        return done
    plan = await planned(stream, run_id)
    work = _Run(stream, plan, tools)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(parallelism, plan.spec.shards)):
                group.create_task(work.worker())
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    if work.failed is None and len(work.ends) < plan.spec.shards:
        return await read_end(stream, run_id)  # halted, or ended by another worker
    return await conclude(stream, plan, list(work.ends.values()), work.failed)


async def conclude(stream: Stream, plan: ReplayPlan, shards: list[End], failed: End | None) -> End:
    """The run's end from its shards'. Raises `Incomplete` where a run without failure did not account for
    every event of its plan."""
    totals = sum((end.totals for end in shards), Totals())
    failures = tuple(failure for end in shards for failure in end.failures)[:MAX_FAILURES]
    if failed is None and totals.settled != plan.measure.matched:
        raise Incomplete(
            f"the shards accounted for {totals.settled} events; the plan has {plan.measure.matched}"
        )
    reason = Reason.SUCCEEDED_WITH_FAILURES if totals.failed or totals.held else Reason.SUCCEEDED
    now = stream.clock.now().text
    end = End(EndState.SUCCEEDED, reason, order_caveat(plan.spec) or "", now, totals, failures)
    if failed is not None:
        end = End(EndState.FAILED, failed.reason, failed.message, now, totals, failures)
    found = await create_once(stream, run_keys(stream, plan.run_id).end, msgspec.json.encode(end))
    return end if found is None else msgspec.json.decode(found, type=End)


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
                await self._pause(self._tools.settings.lease_seconds / 3)
            except TargetUnavailable as error:
                self._tools.observer.retrying(shard, error)
                failures += 1
                if failures > self._plan.spec.retries_per_shard:
                    message = f"shard {shard} failed {failures} times, at last: {error}"
                    return await self._given_up(shard, message)
                await self._pause(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (failures - 1)))
        return None

    async def _given_up(self, shard: int, message: str) -> End:
        at = await read_checkpoint(self._stream, self._plan.run_id, shard)
        now = self._stream.clock.now().text
        return End(EndState.FAILED, Reason.RETRIES_EXHAUSTED, message, now, at.totals, at.failures)

    async def _pause(self, seconds: float) -> None:
        while seconds > 0 and not self._halted():
            step = min(seconds, _LOOK_UP)
            await self._stream.clock.sleep(step)
            seconds -= step
