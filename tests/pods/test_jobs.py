"""Replays and aggregates in real pods: killed, told to stop, without a node, short of memory."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chart.conftest import helm, render
from chart.rendering import Renderer
from cluster.handle import Cluster
from clusters_for_tests import PIK_IMAGE
from pik.cluster.paths import pods
from running.scene import Ground, until
from running.specs import version_spec
from running.stage import CHUNK, COUNT, SLOW, Stage
from running.stage import stage as staged

__all__ = ["helm", "render"]


@pytest.fixture
async def stage(pod_cluster: Cluster, render: Renderer, unique: str, tmp_path: Path) -> AsyncIterator[Stage]:
    ground = Ground(pod_cluster, render, pod_cluster.aws)
    async with staged(ground, unique[:30], tmp_path, PIK_IMAGE) as made:
        yield made


async def test_a_killed_pod_is_gone_on_with(stage: Stage) -> None:
    await stage.replay(pace=SLOW)
    await stage.until_sent(20)
    (pod,) = await stage.pods()
    at_once = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
    await stage.scene.api.delete(f"{pods(stage.scene.namespace)}/{pod['metadata']['name']}", at_once)
    there = await stage.scene.until_true("ReplayJob", "job", "Complete")
    assert there["status"]["progress"]["sent"] == COUNT
    received = Counter(stage.received())
    assert len(received) == COUNT
    assert sum(received.values()) - COUNT <= CHUNK
    (job,) = await stage.jobs()
    assert job["spec"]["ttlSecondsAfterFinished"] == 600


async def test_suspended_at_a_checkpoint_and_gone_on_with(stage: Stage) -> None:
    await stage.replay(shards=2, parallelism=2, pace=SLOW)
    await stage.until_sent(20)
    first = await stage.job()
    await stage.scene.merge("ReplayJob", "job", {"spec": {"suspend": True}})
    await stage.until_reason("Suspended", condition="Suspended")
    await until("its pods have stopped", stage.has_no_pods())
    await stage.scene.merge("ReplayJob", "job", {"spec": {"suspend": None}})
    there = await stage.scene.until_true("ReplayJob", "job", "Complete")
    assert there["status"]["progress"]["shardsSucceeded"] == 2
    received = stage.received()
    assert len(received) == len(set(received)) == COUNT
    (job,) = await stage.jobs()
    assert job["metadata"]["uid"] == first["metadata"]["uid"]
    assert job["status"].get("failedIndexes", "") == ""


async def test_a_lost_node_does_not_count(stage: Stage, pod_cluster: Cluster) -> None:
    await stage.replay(pace=SLOW, retriesPerShard=0)
    await stage.until_sent(20)
    (pod,) = await stage.pods()
    node = pod["spec"]["nodeName"]
    there = json.loads(await asyncio.to_thread(pod_cluster.kubectl, "get", "node", node, "-o", "json"))
    await asyncio.to_thread(pod_cluster.kubectl, "delete", "node", node)

    async def given_up() -> bool:
        named = [one for one in await stage.pods() if one["metadata"]["name"] == pod["metadata"]["name"]]
        conditions = [told["type"] for one in named for told in one["status"].get("conditions", [])]
        return not named or "DisruptionTarget" in conditions

    try:
        await until("its pod is given up", given_up)
    finally:
        # the node comes back, as the machine does once it is reached again
        meta = {name: there["metadata"][name] for name in ("name", "labels", "annotations")}
        back = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": there["spec"]}
        await asyncio.to_thread(pod_cluster.kubectl, "create", "-f", "-", stdin=json.dumps(back))
    done = await stage.scene.until_true("ReplayJob", "job", "Complete")
    assert done["status"]["progress"]["sent"] == COUNT
    received = Counter(stage.received())
    assert len(received) == COUNT
    (job,) = await stage.jobs()
    assert job["status"].get("failed", 0) == 0


async def test_an_aggregate_that_needs_more_memory_gets_it(stage: Stage) -> None:
    # far below what its imports need: just below, the kernel evicts code and reads it again, and kills nobody
    small = {"resources": {"limits": {"memory": "24Mi"}}}
    asked = {**version_spec("things"), "execution": small}
    await stage.scene.create("AggregateVersion", "total", asked)
    message = await stage.until_reason("OutOfMemory", "total", "AggregateVersion", "Failed")
    assert "24Mi" in message
    more = {"spec": {"execution": {"resources": None, "memory": "1Gi"}}}
    await stage.scene.merge("AggregateVersion", "total", more)
    there = await stage.scene.until_true("AggregateVersion", "total", "Complete")
    assert there["status"]["inputCount"] == COUNT
    found = await stage.jobs()
    assert [one["spec"].get("ttlSecondsAfterFinished") for one in found] == [600]
