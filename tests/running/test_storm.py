"""An object that is changed all the time, beside others that wait for their turn, on a real API server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from pathlib import Path

from pik.cluster.errors import KubeConflict
from pik.controller.queue import Spacing
from running.scene import Ground, Scene, scene, until
from running.specs import is_true, stream_spec

OTHERS = 12
CHANGES = 300  # at least


async def storm(world: Scene, made: list[int], ended: asyncio.Event) -> int:
    """Some twenty changes a second; the last one's number."""
    for number in count():
        tags = {"storage": {"tags": {"number": str(number)}}}
        with suppress(KubeConflict):
            await world.merge("CaptureStream", "stormy", {"spec": tags})
            made.append(number)
        if ended.is_set():
            return number
        await asyncio.sleep(0.05)
    raise AssertionError


async def test_an_update_storm_on_one_stream_does_not_starve_the_others(
    ground: Ground, unique: str, tmp_path: Path
) -> None:
    """With two workers: the others become Ready while the storm goes on, the stormy one is worked on no more
    often than its spacing says, and what it was changed to in the end is carried out."""
    async with scene(ground, unique[:30], tmp_path, "--executor", "InProcess", "--workers", "2") as world:
        await world.operator().start()
        await world.create("CaptureStream", "stormy", stream_spec("stormy"))
        await world.until_true("CaptureStream", "stormy", "Ready")
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        audited, began = ground.cluster.audited(), loop.time()
        made: list[int] = []
        storming = asyncio.create_task(storm(world, made, ended))
        for number in range(OTHERS):
            await world.create("CaptureStream", f"other-{number}", stream_spec(f"other-{number}"))
        for number in range(OTHERS):
            await world.until_true("CaptureStream", f"other-{number}", "Ready")
        assert not storming.done()

        async def enough() -> bool:
            return len(made) >= CHANGES

        await until("there were many changes", enough)
        lasted = loop.time() - began
        ended.set()
        last = await storming
        told = (world.namespace, "stormy", "status", 200)  # not those that came too late
        written = [
            request
            for request in ground.cluster.requests(since=audited)
            if (request.namespace, request.name, request.subresource, request.code) == told
        ]
        spacing = Spacing()
        assert 1 <= len(written) <= spacing.burst + lasted / spacing.seconds + 2
        assert len(made) > 3 * len(written)
        bucket = (await world.get("CaptureStream", "stormy"))["status"]["storage"]["bucket"]

        async def carried_out() -> bool:
            tags = world.clients.client("s3").get_bucket_tagging(Bucket=bucket)["TagSet"]
            there = await world.get("CaptureStream", "stormy")
            return {"Key": "number", "Value": str(last)} in tags and is_true(there, "Ready")

        await until("the last change is carried out", carried_out)
