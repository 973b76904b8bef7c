"""Two worker processes on one shard: one at a time; and where the lease changes hands, at most the one chunk
in doubt is sent again, and the ledger names it."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import replace
from typing import Any

import pytest

from crash.checker import Evidence, Replay, check
from crash.clients import Producers
from crash.ground import PREFIX, SETTINGS, Ground
from crash.processes import Started, until
from crash.receivers import Delivery, Receiver, receiving
from crash.steps import Fate, Step, When
from crash.truth import read_ledger

pytestmark = pytest.mark.emulator

CHUNK = 40
_LEASE = 3.0  # seconds: a worker that is at work keeps it on a busy machine too
_STANDING = [
    Step("before an intent", "objects.create", When.BEFORE, r"00000001\.intent\.json$", stop=True),
    Step("before a send", "sink.send", When.BEFORE, nth=CHUNK + 10, stop=True),
    Step("in a send", "sink.send", When.WITHIN, nth=CHUNK + 10, stop=True),
    Step("before an outcome", "objects.create", When.BEFORE, r"00000001\.outcome\.ndjson$", stop=True),
]


async def _begun(ground: Ground, receiver: Receiver, name: str) -> tuple[str, dict[str, Any]]:
    """A run of one shard that is on record, nothing of it sent; and how to start a worker of it."""
    run = await ground.plan(name, {"type": "HTTP", "http": {"url": receiver.url}}, shards=1)
    settings = {**SETTINGS, "lease_seconds": _LEASE}
    return run["run_id"], ground.worker(ground.replay_task(name, run, settings=settings), 0)


def _evidence(ground: Ground, producers: Producers, run: str, receiver: Receiver) -> Evidence:
    return replace(ground.evidence(producers), replays=[Replay(run, receiver.got, ordered=False)])


def _holders(ground: Ground, run: str) -> set[str]:
    """Whoever began a chunk."""
    keys = [key for key in ground.bucket.keys(f"{PREFIX}runs/{run}/shards/") if ".intent" in key]
    return {json.loads(ground.bucket.read(key))["holder"] for key in keys}


async def _ended(workers: list[Started]) -> None:
    for worker in workers:
        assert await worker.ended(60)
        assert worker.process.exitcode == 0, worker.output


async def test_a_holder_that_stood_still_until_its_lease_had_passed(
    ground: Ground, producers: Producers, ports: list[int]
) -> None:
    """At each step of a run of its own, all of them side by side."""
    await ground.capture(producers, ports)
    await asyncio.gather(*(_stood_still(ground, producers, step) for step in _STANDING))


async def _stood_still(ground: Ground, producers: Producers, step: Step) -> None:
    async with receiving() as receiver:
        run, words = await _begun(ground, receiver, step.name.replace(" ", "-"))
        first = ground.processes.start("pik", Fate(step), **words)
        await until(f"it stands still {step.name}", lambda: first.stands_still and len(first.hits()) == 1)
        before = len(receiver.got)
        assert CHUNK <= before <= 2 * CHUNK, step

        async def slowly(_: Delivery) -> None:
            await asyncio.sleep(0.02)  # so that the second is at work when the first wakes up

        receiver.before_answer = slowly
        second = ground.processes.start("pik", **words)
        await receiver.until(before + CHUNK + 20)
        first.signal(signal.SIGCONT)
        await _ended([second, first])
        await ground.conclude(run)
    verdict = check(_evidence(ground, producers, run, receiver))
    assert verdict.faults == [], step
    chunks = read_ledger(ground.bucket, PREFIX, run).chunks
    named = [place for place, chunk in chunks.items() if chunk.named]
    assert named == ([] if step.name == "before an intent" else [(0, 1)]), step
    assert verdict.repeats <= CHUNK, step
    assert (verdict.repeats > 0) == (len(named) > 0), step
    assert len(_holders(ground, run)) == 2, step


async def test_one_shard_is_run_by_one_at_a_time(
    ground: Ground, producers: Producers, ports: list[int], receiver: Receiver
) -> None:
    await ground.capture(producers, ports)
    run, words = await _begun(ground, receiver, "together")
    await _ended([ground.processes.start("pik", **words) for _ in range(2)])
    await ground.conclude(run)
    verdict = check(_evidence(ground, producers, run, receiver))
    assert verdict.faults == []
    assert (verdict.repeats, verdict.named) == (0, 0)
    assert len(_holders(ground, run)) == 1
