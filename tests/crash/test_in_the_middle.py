"""What befalls a stream in the middle of its work, by real processes: nothing acknowledged is lost by it."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from crash.checker import check
from crash.clients import Producers
from crash.ground import NAME, NAMESPACE, PREFIX, Ground
from crash.processes import until
from crash.receivers import Delivery, Receiver

pytestmark = pytest.mark.emulator

MISCONFIGURED, FAILED = 11, 10  # exit codes of a worker
CHUNK = 40


async def _until_refused(producers: Producers, times: int) -> None:
    """So many tries more were answered 503."""
    wanted = producers.failed["503"] + times
    await until("writers refuse", lambda: producers.failed["503"] >= wanted)


async def _until_answered(producers: Producers, count: int) -> None:
    """So many answers more."""
    wanted = len(producers.log) + count
    await until("writers answer", lambda: len(producers.log) >= wanted)


async def _refused(port: int, producers: Producers) -> str:
    """Why a writer does not take an event, one that was sent before."""
    body = producers.log[0].event.text
    headers = {"content-type": "application/json"}
    url = f"http://127.0.0.1:{port}/v1/streams/{NAMESPACE}/{NAME}/events"
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        assert answer.status == 503
        reason: str = (await answer.json())["error"]["reason"]
        return reason


async def test_the_table_is_deleted_and_the_index_rebuilt_beside_writers(
    ground: Ground, producers: Producers, ports: list[int], receiver: Receiver
) -> None:
    """Writers answer 503 until the index is rebuilt; then they go on by themselves, and so they do beside one
    that is rebuilt without need."""
    writers = [ground.serve(port) for port in ports]
    sending = asyncio.create_task(producers.run())
    await _until_answered(producers, 200)
    ground.dynamodb.delete_table(TableName=ground.name)
    await _until_refused(producers, 2 * producers.count)
    told = len(producers.log)
    await _until_refused(producers, 2 * producers.count)
    assert len(producers.log) == told
    assert {await _refused(port, producers) for port in ports} == {"NotReady"}
    await ground.build()
    await _until_answered(producers, 200)
    await ground.build(again=True)
    await _until_answered(producers, 200)
    producers.stop()
    await sending
    for writer in writers:
        await ground.ended(writer)
    assert len(ground.bucket.keys(f"{PREFIX}generations/")) == 3
    await ground.replay_over_http(receiver)
    verdict = check(ground.evidence(producers))
    assert verdict.faults == []
    assert verdict.deliveries == verdict.events > 300


async def test_a_second_cluster_takes_over(
    ground: Ground, producers: Producers, ports: list[int], receiver: Receiver
) -> None:
    """In the middle of ingest and of a replay: the old owner's writer and worker are fenced by the epoch, the
    new one's go on from where they were."""
    old, new = ports
    writer = ground.serve(old)
    sending = asyncio.create_task(producers.run())
    await _until_answered(producers, 200)
    run = await ground.plan("http", {"type": "HTTP", "http": {"url": receiver.url}}, shards=1)
    released = asyncio.Event()

    async def held(_: Delivery) -> None:
        if len(receiver.got) > CHUNK + 10:
            await released.wait()

    receiver.before_answer = held
    worker = ground.processes.start("pik", **ground.worker(ground.replay_task("http", run), 0))
    await receiver.until(CHUNK + 11)
    await ground.take_over("there", old="here")
    await _until_refused(producers, 2 * producers.count)
    told = len(producers.log)
    assert await _refused(old, producers) == "OwnershipConflict"
    await ground.build(cluster="there")
    successor = ground.serve(new)
    await _until_answered(producers, 200)
    assert await _refused(old, producers) == "OwnershipConflict"
    released.set()
    assert await worker.ended(60)
    assert worker.process.exitcode == MISCONFIGURED, worker.output
    producers.stop()
    await sending
    for each in (writer, successor):
        await ground.ended(each)
    counting = {each.s3_key.rsplit(".g", 1)[1] for each in producers.log[told:]}
    assert counting == {"00000002.parquet"}, "only the new owner's index answers"
    sent = len(receiver.got)
    assert CHUNK + 10 < sent <= 3 * CHUNK
    successor = ground.processes.start("pik", **ground.worker(ground.replay_task("http", run), 0))
    assert await successor.ended(60)
    assert successor.process.exitcode == 0, successor.output
    await ground.conclude(run["run_id"])
    early = [each for each in producers.log if each.s3_key.endswith(".g00000001.parquet")]
    times = [delivery.key for delivery in receiver.got]
    assert len(times) - len(set(times)) <= CHUNK
    end = json.loads(ground.bucket.read(f"{PREFIX}runs/{run['run_id']}/end.json"))
    assert end["state"] == "Succeeded"
    assert end["totals"]["sent"] == len(set(times)) <= len({each.event_id for each in early})
    receiver.got.clear()
    await ground.replay_over_http(receiver, name="everything")
    verdict = check(ground.evidence(producers))
    assert verdict.faults == []


async def test_retention_passes_in_the_middle_of_a_replay(
    ground: Ground, producers: Producers, ports: list[int], receiver: Receiver
) -> None:
    """The run ends for good, and says that raw expired; nothing is sent after that."""
    ground.stream["retention_days"] = 1
    await ground.capture(producers, ports)
    run = await ground.plan("http", {"type": "HTTP", "http": {"url": receiver.url}}, shards=1)
    clock = ground.processes.directory / "clock"
    clock.write_text("0")

    async def passing(_: Delivery) -> None:
        if len(receiver.got) == CHUNK + 10:
            clock.write_text(str(3 * 86_400))

    receiver.before_answer = passing
    words = ground.worker(ground.replay_task("http", run), 0)
    worker = ground.processes.start("pik", ahead=str(clock), **words)
    assert await worker.ended(60)
    assert worker.process.exitcode == FAILED, worker.output
    assert CHUNK + 10 <= len(receiver.got) <= 2 * CHUNK
    await ground.conclude(run["run_id"])
    end = json.loads(ground.bucket.read(f"{PREFIX}runs/{run['run_id']}/end.json"))
    assert (end["state"], end["reason"]) == ("Failed", "RawExpired")
    assert end["totals"]["sent"] == len(receiver.got)
    again = ground.processes.start("pik", ahead=str(clock), **words)
    assert await again.ended(60)
    assert again.process.exitcode == FAILED
    assert end["totals"]["sent"] == len(receiver.got)
