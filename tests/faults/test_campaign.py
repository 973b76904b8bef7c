"""Three in ten calls of AWS fail: capture, replays and aggregates complete, and nothing is lost or doubled.

What is true is found by the checker of the crash campaign: by the bucket, what the producers were told and
what the targets got.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from random import Random

import httpx
import pytest

from crash.checker import check
from crash.ground import Ground, free_port, producers_of
from crash.local import LocalMode
from crash.processes import Processes
from crash.receivers import receiving
from faults.calls import Call
from faults.policy import Fault, Kind, When, nothing, script, sometimes
from faults.proxy import FaultProxy, faulty
from local.test_up import QUICK, STREAM, THINGS, events, up

pytestmark = pytest.mark.emulator

SHARE = 0.3


async def _played(proxy: FaultProxy, emulator: str, unique: str, scratch: Path, *, deciding: bool) -> None:
    """Local mode takes events, replays them over HTTP and into a queue, and computes an aggregate, all of its
    calls of AWS by the proxy."""
    processes = Processes(proxy.endpoint, scratch / "processes")
    ground = Ground(processes, emulator, unique, deciding, "Statements", {"capture": [], "work": []})
    port = free_port()
    producers = producers_of([port], Random(unique), least=1_000)
    try:
        async with receiving() as receiver:
            await LocalMode(ground, scratch / "folder", port).play(producers, receiver)
    finally:
        await processes.stop()
    verdict = check(ground.evidence(producers))
    assert verdict.faults == []
    assert producers.odd == []
    assert len(producers.log) >= 1_000
    assert len(ground.replays) == 2
    assert len(ground.questions) == 1


@pytest.mark.parametrize("deciding", [True, False])
async def test_everything_completes(emulator: str, unique: str, tmp_path: Path, deciding: bool) -> None:
    with faulty(emulator, sometimes(seed=11 + deciding, share=SHARE)) as proxy:
        await _played(proxy, emulator, unique, tmp_path, deciding=deciding)
    faults = Counter(str(entry.fault) for entry in proxy.log if entry.fault is not None)
    assert SHARE * 0.8 < proxy.failed / len(proxy.log) < SHARE * 1.2
    assert {"Throttle", "ErrorBefore", "ErrorAfter", "ResetBefore", "ResetAfter", "Truncate"} <= set(faults)
    assert {entry.call.service for entry in proxy.log if entry.fault} == {"s3", "dynamodb", "sqs"}


async def test_calls_that_are_never_answered(emulator: str, unique: str, tmp_path: Path) -> None:
    """The client's own timeout ends the waiting, and the call is made again, though it may have had its
    effect."""
    silent = (Fault(Kind.SILENCE), Fault(Kind.SILENCE, When.AFTER))
    policy = script(
        {
            "s3.PUT": (None, None, silent[1]),
            "dynamodb.BatchExecuteStatement": (None, silent[1]),
            "sqs.SendMessageBatch": (silent[1], None, silent[0]),
        }
    )
    with faulty(emulator, policy) as proxy:
        await _played(proxy, emulator, unique, tmp_path, deciding=True)
    assert proxy.failed == 4


async def test_the_status_tells_of_an_outage_and_of_its_end(
    emulator: str, unique: str, tmp_path: Path
) -> None:
    (tmp_path / "stream.yaml").write_text(STREAM.format(bucket=unique))

    def none_answers(_: Call) -> Fault:
        return Fault(Kind.RESET)

    with faulty(emulator, nothing) as proxy:
        async with up(tmp_path, proxy.endpoint, QUICK) as mode, httpx.AsyncClient(timeout=60) as client:

            async def until(reason: str) -> str:
                async with asyncio.timeout(120):
                    while True:
                        found = mode.objects.find(THINGS)
                        told = [] if found is None else found.status.conditions
                        for each in told:
                            if (each.type, each.reason) == ("Ready", reason):
                                return str(each.message)
                        await asyncio.sleep(0.05)

            url = f"{mode.gateway}/v1/streams/default/things/events"
            headers = {"content-type": "application/x-ndjson"}
            await until("Provisioned")
            assert (await client.post(url, content=events(3), headers=headers)).status_code == 200
            proxy.policy = none_answers
            assert "Connection" in await until("AWSUnavailable")
            refused = await client.post(url, content=events(5), headers=headers)
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            proxy.policy = nothing
            await until("Provisioned")
            answers = json.loads((await client.post(url, content=events(5), headers=headers)).content)
            assert [each["status"] for each in answers["answers"]] == ["DUPLICATE"] * 3 + ["ACCEPTED"] * 2
