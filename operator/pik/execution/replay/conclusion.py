"""How a run ended, from how its shards did; without anything that sends."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec

from pik.api.conditions import Reason
from pik.domain.errors import Incomplete
from pik.execution.concurrency import all_of
from pik.execution.replay.checkpoint import read_checkpoint
from pik.execution.replay.once import create_once
from pik.execution.replay.runs import planned, read_end, read_shard_end, run_keys
from pik.execution.stream import Stream
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import MAX_FAILURES, End, EndState, Totals
from pik.planning.replay.spec import order_caveat

_AT_ONCE = 16  # readings of one conclusion under way


async def conclude_shards(stream: Stream, run_id: str, given_up: Mapping[int, str]) -> End | None:
    """The end of a run whose shards had workers of their own, none of which is at work any more: found, or
    recorded now. `given_up`: shards that are not tried again, and why. None: there is no end yet, since no
    shard has failed and not all have ended.

    Raises `Incomplete` as `conclude` does.
    """
    if (done := await read_end(stream, run_id)) is not None:
        return done
    plan = await planned(stream, run_id)
    readings = [partial(read_shard_end, stream, run_id, shard) for shard in range(plan.spec.shards)]
    ends = await all_of(readings, _AT_ONCE)
    known = [end for end in ends if end is not None]
    known += [
        await failed_end(stream, run_id, shard, given_up[shard])
        for shard in sorted(given_up)
        if ends[shard] is None
    ]
    failed = next((end for end in known if end.state is EndState.FAILED), None)
    if failed is None and len(known) < plan.spec.shards:
        return None
    return await conclude(stream, plan, known, failed)


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


async def failed_end(stream: Stream, run_id: str, shard: int, message: str) -> End:
    """Of a shard that is not tried again."""
    at = await read_checkpoint(stream, run_id, shard)
    now = stream.clock.now().text
    return End(EndState.FAILED, Reason.RETRIES_EXHAUSTED, message, now, at.totals, at.failures)
