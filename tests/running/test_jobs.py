"""Replays and aggregates as Jobs of a real API server and its controllers; pods are local processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pik.cluster.api import Object
from pik.cluster.paths import jobs
from running.kubelet import Kubelet, failed, lost, stuck
from running.scene import Ground, until
from running.specs import is_true, version_spec
from running.stage import CHUNK, COUNT, SLOW, Stage
from running.stage import stage as staged


@pytest.fixture
async def stage(ground: Ground, unique: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(ground, unique[:30], tmp_path, "pik:of-these-tests") as made:
        yield made


@pytest.fixture
async def kubelet(stage: Stage, tmp_path: Path) -> AsyncIterator[Kubelet]:
    made = Kubelet(stage.scene.api, stage.scene.namespace, tmp_path)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.usefixtures("kubelet")
async def test_an_index_for_each_shard_and_a_ttl_when_the_end_is_on_record(stage: Stage) -> None:
    await stage.replay(shards=3, parallelism=2, pace=None)
    job = await stage.job()
    assert "ttlSecondsAfterFinished" not in job["spec"]
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (3, 2)
    there = await stage.scene.until_true("ReplayJob", "job", "Complete")
    assert there["status"]["progress"]["shardsSucceeded"] == 3
    assert Counter(stage.received()).most_common(1)[0][1] == 1
    (job,) = await stage.jobs()
    assert job["spec"]["ttlSecondsAfterFinished"] == 600
    assert is_true(job, "Complete")
    # all of it is what the API server knows, and what the restricted standard allows
    again = {**job, "metadata": {"name": "again", "labels": job["metadata"]["labels"]}}
    for generated in ("selector", "manualSelector"):
        again["spec"].pop(generated, None)
    again["spec"]["template"]["metadata"]["labels"] = {"a": "b"}
    await stage.scene.api.create(jobs(stage.scene.namespace), again, fieldValidation="Strict", dryRun="All")
    await stage.scene.remove("ReplayJob", "job")
    await until("the Job goes with its owner", stage.has_none())


async def test_a_killed_pod_is_gone_on_with(stage: Stage, kubelet: Kubelet) -> None:
    await stage.replay(shards=1, pace=SLOW)
    await stage.until_sent(20)
    (container,) = kubelet.started.values()
    container.process.kill()
    message = await stage.until_reason("Running")
    await until("a second pod is started", _started(kubelet, 2))
    there = await stage.scene.until_true("ReplayJob", "job", "Complete")
    assert there["status"]["progress"]["sent"] == COUNT, message
    received = Counter(stage.received())
    assert len(received) == COUNT
    assert sum(received.values()) - COUNT <= CHUNK
    assert set(received.values()) <= {1, 2}
    (told,) = await stage.told("ShardFailed")
    assert told.startswith("shard 0: it was killed by SIGKILL")


async def test_suspended_at_a_checkpoint_and_gone_on_with(stage: Stage, kubelet: Kubelet) -> None:
    await stage.replay(pace=SLOW)
    await stage.until_sent(20)
    first = await stage.job()
    await stage.scene.merge("ReplayJob", "job", {"spec": {"suspend": True}})
    await stage.until_reason("Suspended", condition="Suspended")

    async def stopped() -> bool:
        return all(one.process.returncode is not None for one in kubelet.started.values())

    await until("its pods have stopped", stopped)
    assert [one.process.returncode for one in kubelet.started.values()] == [12]
    await until("it has no pod", stage.has_no_pods())
    await stage.scene.merge("ReplayJob", "job", {"spec": {"suspend": None, "pace": None}})
    await stage.scene.until_true("ReplayJob", "job", "Complete")
    received = stage.received()
    assert len(received) == len(set(received)) == COUNT
    # the pace is another one: that needs another attempt, and the first one was only held
    (job,) = await stage.jobs()
    assert job["metadata"]["uid"] != first["metadata"]["uid"]


@pytest.mark.usefixtures("kubelet")
async def test_what_no_pod_can_do_fails_at_once_and_says_why(stage: Stage) -> None:
    hook = {"type": "HTTP", "http": {"url": "https://example.test/hook", "secretRef": {"name": "hook"}}}
    await stage.replay(target=hook, retriesPerShard=5)
    message = await stage.until_reason("SecretNotReadable", condition="Stalled")
    assert "Secret hook" in message
    job = await stage.job()
    assert job["status"]["failed"] == 1
    failure = next(one for one in job["status"]["conditions"] if one["type"] == "Failed")
    assert failure["reason"] == "PodFailurePolicy"
    assert "ttlSecondsAfterFinished" not in job["spec"]  # the run has not ended


async def test_a_lost_node_does_not_count_and_a_failed_shard_does(stage: Stage, kubelet: Kubelet) -> None:
    fates = iter([lost(), lost()])
    kubelet.instead = lambda _: next(fates, None)
    await stage.replay(retriesPerShard=0, pace=None)
    await stage.scene.until_true("ReplayJob", "job", "Complete")
    assert len(kubelet.said) == 3
    stage.received()
    kubelet.instead = lambda _: failed(1, message="no target")
    await stage.replay("failing", retriesPerShard=0, pace=None)
    message = await stage.until_reason("RetriesExhausted", "failing", condition="Failed")
    assert "shard 0" in message
    assert "no target" in message
    there = next(one for one in await stage.jobs() if one["metadata"]["name"].startswith("failing"))
    assert there["spec"]["ttlSecondsAfterFinished"] == 600
    assert stage.received() == []


@pytest.mark.usefixtures("kubelet")
async def test_a_job_that_is_deleted_by_hand_is_made_again(stage: Stage) -> None:
    await stage.replay(pace=SLOW)
    await stage.until_sent(20)
    first = await stage.job()
    await stage.scene.api.delete(f"{jobs(stage.scene.namespace)}/{first['metadata']['name']}")

    async def another() -> bool:
        there = await stage.jobs()
        return [one["metadata"]["uid"] for one in there] not in ([], [first["metadata"]["uid"]])

    await until("another Job is there", another)
    await stage.scene.merge("ReplayJob", "job", {"spec": {"pace": None}})
    await stage.scene.until_true("ReplayJob", "job", "Complete")
    received = Counter(stage.received())
    assert len(received) == COUNT
    assert set(received.values()) <= {1, 2}


@pytest.mark.usefixtures("kubelet")
async def test_a_queues_hold_is_respected(stage: Stage) -> None:
    await stage.replay(labels={"kueue.x-k8s.io/queue-name": "slow"}, pace=None)
    await stage.until_reason("Queued")
    job = await stage.job()
    assert job["spec"]["suspend"] is True
    assert await stage.pods() == []
    await stage.patch(job, {"suspend": False})  # the queue admits it
    await stage.scene.until_true("ReplayJob", "job", "Complete")
    assert len(set(stage.received())) == COUNT


@pytest.mark.parametrize("what", ["account", "quota", "image"])
async def test_what_keeps_pods_away_is_said_and_heals(stage: Stage, kubelet: Kubelet, what: str) -> None:
    spec: Object = {"pace": None}
    namespace = f"/api/v1/namespaces/{stage.scene.namespace}"
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    match what:
        case "account":
            spec["execution"] = {"serviceAccountName": "sender"}
        case "quota":
            await stage.scene.api.create(f"{namespace}/resourcequotas", quota)

            async def counted() -> bool:
                there = await stage.scene.api.get(f"{namespace}/resourcequotas/none")
                return "hard" in there.get("status", {})

            await until("the quota is counted", counted)
        case "image":
            kubelet.instead = lambda _: stuck("ImagePullBackOff", "there is no pik:of-these-tests")
    await stage.replay(**spec)
    message = await stage.until_reason("WorkerFailed", condition="Stalled")
    assert {"account": "serviceaccount", "quota": "exceeded quota", "image": "ImagePullBackOff"}[
        what
    ] in message
    match what:
        case "account":
            await stage.scene.api.create(f"{namespace}/serviceaccounts", {"metadata": {"name": "sender"}})
        case "quota":
            await stage.scene.api.delete(f"{namespace}/resourcequotas/none")
        case "image":
            kubelet.instead = lambda _: None
    there = await stage.scene.until_true("ReplayJob", "job", "Complete")
    assert not is_true(there, "Stalled")
    assert len(set(stage.received())) == COUNT


async def test_an_aggregate_gets_more_memory_where_it_was_not_enough(stage: Stage, kubelet: Kubelet) -> None:
    fates = iter([failed(137, "OOMKilled")])
    kubelet.instead = lambda _: next(fates, None)
    await stage.scene.create("AggregateVersion", "total", version_spec("things"))
    message = await stage.until_reason("OutOfMemory", "total", "AggregateVersion", "Failed")
    assert "1Gi" in message
    await stage.scene.merge("AggregateVersion", "total", {"spec": {"execution": {"memory": "2Gi"}}})
    there = await stage.scene.until_true("AggregateVersion", "total", "Complete")
    assert there["status"]["inputCount"] == COUNT
    assert not is_true(there, "Failed")
    compared = {**version_spec("things"), "compareTo": {"name": "total"}}
    await stage.scene.create("AggregateVersion", "again", compared)
    there = await stage.scene.until_true("AggregateVersion", "again", "Complete")
    assert there["status"]["difference"]["rowsChanged"] == 0
    await stage.scene.remove("AggregateVersion", "total")
    await stage.scene.create("AggregateVersion", "total", version_spec("things"))
    there = await stage.scene.until_true("AggregateVersion", "total", "Complete")
    assert there["status"]["inputCount"] == COUNT
    assert [
        one for one in await stage.jobs() if one["metadata"]["annotations"]["pik.dev/object"] == "total"
    ] == []


def _started(kubelet: Kubelet, count: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return len(kubelet.started) >= count

    return holds
