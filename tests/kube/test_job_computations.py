"""Aggregates as Jobs: what a pod kept is found, and what it could not do is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.manifests import STREAM, VERSION, event, events
from kube.job_clusters import JobCluster, said
from pik.api.conditions import Reason
from pik.cluster.jobs.verdicts import ExitCode
from pik.controller.objects import ObjectKey

LATER = VERSION.replace("{name: total}", "{name: later}") + "  compareTo: {name: total}\n"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[JobCluster]:
    made = JobCluster(tmp_path)
    things = made.apply(STREAM)
    await made.settle()
    await made.ingest(things, events(6))
    await made.settle()
    yield made
    await made.stop()


async def applied(cluster: JobCluster, text: str) -> ObjectKey:
    key = cluster.apply(text)
    await cluster.settle()
    return key


async def computed(cluster: JobCluster) -> None:
    """The only Job's pod does its work."""
    job = next(job for job in cluster.api.jobs() if "conditions" not in job.get("status", {}))
    verdict = await cluster.aggregate(job)
    assert verdict.code is ExitCode.DONE
    cluster.api.ended(job, "Complete", succeeded=1)
    await cluster.advance(11)


def state(cluster: JobCluster, key: ObjectKey) -> tuple[str, str]:
    found = next(one for one in cluster.status(key).conditions if one.type == "Complete")
    return found.reason, found.message


async def test_computed_by_a_pod_and_kept(cluster: JobCluster) -> None:
    key = await applied(cluster, VERSION)
    assert state(cluster, key)[0] == "Computing"
    as_of = cluster.clock.now()
    assert "ttlSecondsAfterFinished" not in cluster.api.job()["spec"]
    cluster.clock.advance(100)
    await computed(cluster)
    status = cluster.status(key)
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    assert (status.inputCount, status.rowCount) == (6, 1)
    assert status.asOf == as_of.exact_text  # when it was asked, and not when a pod got to it
    assert cluster.api.job()["spec"]["ttlSecondsAfterFinished"] == 600
    asked = len(cluster.api.calls)
    await cluster.advance(10_000)
    assert len(cluster.api.calls) == asked
    cluster.delete(key)
    await cluster.settle()
    cluster.api.sweep()
    assert cluster.api.jobs() == []
    await applied(cluster, VERSION)  # what was kept is found, and nothing computed
    assert cluster.api.jobs() == []
    assert cluster.status(key).version == status.version


async def test_a_pod_that_has_just_kept_its_answer_ends_by_itself(cluster: JobCluster) -> None:
    key = await applied(cluster, VERSION)
    await cluster.aggregate(cluster.api.job())
    await cluster.advance(11)
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    job = cluster.api.job()
    assert "deletionTimestamp" not in job["metadata"]
    assert job["spec"]["ttlSecondsAfterFinished"] == 600


async def test_compared_by_the_same_pod_where_it_is_known_with_what(cluster: JobCluster) -> None:
    things = ObjectKey("CaptureStream", "default", "things")
    await applied(cluster, VERSION)
    await computed(cluster)
    cluster.api.objects.clear()
    await cluster.ingest(things, [event(0, entity="e0"), event(1, amount="5"), event(20), event(21)])
    cluster.clock.advance(10)
    later = await applied(cluster, LATER)
    await computed(cluster)
    difference = cluster.status(later).difference
    assert (difference.rowsChanged, difference.late, difference.duplicates) == (1, 2, 1)
    assert cluster.condition(later, "Ready") == ("True", "Succeeded")
    assert len(cluster.api.jobs()) == 1


async def test_compared_later_where_the_other_version_comes_later(cluster: JobCluster) -> None:
    later = await applied(cluster, LATER)
    await computed(cluster)
    assert state(cluster, later)[0] == "ComparisonNotReady"
    total = await applied(cluster, VERSION)
    await computed(cluster)
    assert cluster.condition(total, "Ready") == ("True", "Succeeded")
    await cluster.advance(11)
    cluster.api.sweep()
    await computed(cluster)
    assert cluster.status(later).difference.rowsChanged == 0


async def test_different_questions_have_no_difference(cluster: JobCluster) -> None:
    await applied(cluster, VERSION)
    await computed(cluster)
    cluster.api.objects.clear()
    other = await applied(cluster, LATER.replace("bucket: Window", "bucket: Day"))
    await computed(cluster)
    assert cluster.condition(other, "Stalled") == ("True", "InvalidSpec")


@pytest.mark.parametrize("by", ["kernel", "duckdb"])
async def test_out_of_memory_is_tried_again_once_more_is_given(cluster: JobCluster, by: str) -> None:
    key = await applied(cluster, VERSION)
    job = cluster.api.job()
    if by == "kernel":
        cluster.api.failed_pod(job, None, 137, reason="OOMKilled")
    else:
        message = said(ExitCode.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY, "it needs more")
        cluster.api.failed_pod(job, None, 13, message)
    cluster.api.ended(job, "Failed", "PodFailurePolicy", failed=1)
    await cluster.advance(11)
    assert cluster.condition(key, "Failed") == ("True", "OutOfMemory")
    assert "1Gi of memory" in state(cluster, key)[1]
    await cluster.advance(100_000)
    assert len(cluster.api.jobs()) == 1
    await applied(cluster, VERSION + "  execution: {memory: 3Gi}\n")
    await cluster.advance(2)
    cluster.api.sweep()
    (container,) = cluster.api.job()["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == "3Gi"
    await computed(cluster)
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    assert cluster.condition(key, "Failed") is None


@pytest.mark.parametrize("lost", ["nothing", "pods", "status", "both"])
async def test_out_of_memory_is_not_tried_with_as_much_again_by_another_process(
    cluster: JobCluster, lost: str
) -> None:
    key = await applied(cluster, VERSION)
    job = cluster.api.job()
    cluster.api.failed_pod(job, None, 137, reason="OOMKilled")
    cluster.api.ended(job, "Failed", "PodFailurePolicy", failed=1)
    await cluster.advance(11)
    await cluster.advance(5_000)
    if lost in ("pods", "both"):  # with their node
        for path in [path for path in cluster.api.objects if "/pods/" in path]:
            del cluster.api.objects[path]
    if lost in ("status", "both"):
        cluster.forget_status(key)
    await cluster.stop()
    cluster.start()
    await cluster.settle()
    await cluster.advance(5_000)
    assert cluster.condition(key, "Failed") == ("True", "OutOfMemory")
    assert "1Gi of memory" in state(cluster, key)[1]
    assert [one["metadata"]["uid"] for one in cluster.api.jobs()] == [job["metadata"]["uid"]]
    await applied(cluster, VERSION + "  execution: {memory: 3Gi}\n")
    await cluster.advance(2)
    assert len(cluster.api.jobs()) == 2


async def test_what_cannot_be_computed_is_said_without_a_pod(cluster: JobCluster) -> None:
    key = await applied(cluster, VERSION.replace("sum(payload.amount)", "sum(now())"))
    assert cluster.condition(key, "Stalled") == ("True", "InvalidSpec")
    future = await applied(
        cluster,
        VERSION.replace("total", "future").replace("bucket:", 'asOf: "2027-01-01T00:00:00Z"\n  bucket:'),
    )
    assert cluster.condition(future, "Reconciling") == ("True", "StreamNotReady")
    assert cluster.api.jobs() == []


async def test_a_failed_query_says_where(cluster: JobCluster) -> None:
    key = await applied(cluster, VERSION)
    job = cluster.api.job()
    message = said(ExitCode.MISCONFIGURED, Reason.QUERY_FAILED, "payload.amount of event e1 is a text")
    cluster.api.failed_pod(job, None, 11, message)
    cluster.api.ended(job, "Failed", "PodFailurePolicy", failed=1)
    await cluster.advance(11)
    assert cluster.condition(key, "Failed") == ("True", "QueryFailed")
    assert state(cluster, key)[1] == "payload.amount of event e1 is a text"
    await cluster.advance(70)
    await cluster.advance(2)
    assert cluster.api.jobs()[-1]["metadata"]["name"].endswith("-2")


async def test_suspended_and_gone_no_pod_computes(cluster: JobCluster) -> None:
    key = await applied(cluster, VERSION)
    await applied(cluster, VERSION + "  suspend: true\n")
    cluster.api.sweep()
    assert cluster.api.jobs() == []
    assert state(cluster, key)[0] == "Suspended"
    await applied(cluster, VERSION)
    assert len(cluster.api.jobs()) == 1
    cluster.delete(key)
    await cluster.settle()
    cluster.api.sweep()
    assert cluster.api.jobs() == []


async def test_nothing_is_computed_for_whom_the_streams_owner_does_not_allow_it_any_more(
    cluster: JobCluster,
) -> None:
    cluster.apply(STREAM + "  access: {from: All}\n")
    moved = VERSION.replace("{name: total}", "{name: total, namespace: other}")
    key = await applied(cluster, moved.replace("{name: things}", "{name: things, namespace: default}"))
    assert len(cluster.api.jobs("other")) == 1
    cluster.apply(STREAM)
    await cluster.advance(11)
    assert cluster.condition(key, "Stalled") == ("True", "AccessDenied")
    assert all("deletionTimestamp" in job["metadata"] for job in cluster.api.jobs("other"))


async def test_a_pod_that_cannot_start_is_said(cluster: JobCluster) -> None:
    key = await applied(cluster, VERSION)
    job = cluster.api.job()
    cluster.api.says(job, active=1)
    waiting = {"reason": "ErrImagePull", "message": "there is no pik:test"}
    states = [{"name": "worker", "state": {"waiting": waiting}}]
    cluster.api.pod(job, None, phase="Pending", containerStatuses=states)
    await cluster.advance(11)
    reason, message = state(cluster, key)
    assert reason == "WorkerFailed"
    assert "there is no pik:test" in message
