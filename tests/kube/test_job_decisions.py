"""What is done about Jobs: decided by a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pik.cluster.jobs.decide import (
    Action,
    Create,
    Ended,
    Idle,
    Leave,
    Queue,
    Remove,
    Resize,
    Resume,
    Suspend,
    decide,
    due_in,
    halts,
)
from pik.cluster.jobs.manifests import Wanted
from pik.cluster.jobs.seen import Job, JobState, Pod, job_of, newest, pod_of
from pik.controller.objects import ObjectKey
from pik.domain.instants import Instant, parse_instant

NOW = parse_instant("2026-03-01T12:00:00Z")
RUN = "a" * 64
WANTED = Wanted(
    key=ObjectKey("ReplayJob", "default", "again"),
    uid="uid-1",
    run=RUN,
    digest="d1",
    labels={},
    spec={},
    parallelism=2,
    shards=4,
    image="pik:1",
)
JOB = Job(
    name="again-aaaaaaaa-1",
    uid="j1",
    object="again",
    run=RUN[:16],
    owner="uid-1",
    digest="d1",
    attempt=1,
    image="pik:1",
    memory="512Mi",
    queued=False,
    suspended=False,
    parallelism=2,
    deleting=False,
    state=JobState.ACTIVE,
    reason="",
    message="",
    ended=None,
    failed_indexes=(),
    active=2,
    ready=2,
    failed=0,
    ttl=None,
    created=NOW,
    out_of_memory=False,
)
SECOND = replace(JOB, name="again-aaaaaaaa-2", uid="j2", attempt=2)
GOING = replace(JOB, deleting=True)
PAUSED = replace(JOB, suspended=True)
QUEUED = replace(JOB, queued=True)
WAITING = replace(QUEUED, suspended=True)
FEWER = replace(JOB, parallelism=1)
UNLIKE = replace(JOB, digest="d0")
UNLIKE_PAUSED = replace(PAUSED, digest="d0")
DONE = replace(JOB, state=JobState.SUCCEEDED, ended=NOW)
LOST = replace(JOB, state=JobState.FAILED, ended=NOW)
LOST_BEFORE = replace(LOST, digest="d0")
FORMER = replace(JOB, owner="uid-0")
ORPHAN = replace(JOB, owner=None)
OTHER_RUN = replace(JOB, run="b" * 16)


@pytest.mark.parametrize(
    ("jobs", "action"),
    [
        pytest.param([], Create(1), id="none: the first"),
        pytest.param([JOB], Leave(JOB), id="it goes on"),
        pytest.param([GOING], Idle(), id="an earlier one is stopping: it is waited for"),
        pytest.param([replace(GOING, attempt=7), SECOND], Leave(SECOND), id="it goes on beside one"),
        pytest.param([JOB, SECOND], Remove((JOB,)), id="only the last attempt stays"),
        pytest.param([LOST, SECOND], Remove((LOST,)), id="also where the earlier has ended"),
        pytest.param([PAUSED], Resume(PAUSED), id="no longer held"),
        pytest.param([QUEUED], Leave(QUEUED), id="a queue has let it go"),
        pytest.param([WAITING], Queue(WAITING), id="a queue holds it: it is never unsuspended"),
        pytest.param([FEWER], Resize(FEWER, 2), id="resized"),
        pytest.param(
            [replace(QUEUED, parallelism=1)],
            Remove((replace(QUEUED, parallelism=1),)),
            id="a queue has counted its pods",
        ),
        pytest.param([UNLIKE], Remove((UNLIKE,)), id="changed"),
        pytest.param([UNLIKE_PAUSED], Remove((UNLIKE_PAUSED,)), id="changed while it was held"),
        pytest.param([replace(JOB, image="pik:0")], Leave(replace(JOB, image="pik:0")), id="upgrade"),
        pytest.param([FORMER], Remove((FORMER,)), id="forced"),
        pytest.param([ORPHAN], Remove((ORPHAN,)), id="orphaned"),
        pytest.param([OTHER_RUN], Remove((OTHER_RUN,)), id="run key"),
        pytest.param([DONE], Ended(DONE), id="all shards are done"),
        pytest.param([LOST], Ended(LOST), id="it failed"),
        pytest.param([LOST_BEFORE], Ended(LOST_BEFORE), id="its end first"),
    ],
)
def test_one_thing_a_pass(jobs: list[Job], action: Action) -> None:
    assert decide(jobs, WANTED) == action
    assert decide(jobs[::-1], WANTED) == action


@pytest.mark.parametrize(
    ("jobs", "actions"),
    [
        pytest.param([], [], id="none"),
        pytest.param([JOB], [Suspend(JOB)], id="suspended"),
        pytest.param([PAUSED], [], id="held already"),
        pytest.param([GOING], [], id="stopping"),
        pytest.param([DONE, LOST], [], id="ended"),
        pytest.param([FORMER, JOB], [Suspend(FORMER), Suspend(JOB)], id="whatever it was made for"),
        pytest.param([QUEUED, WAITING], [Remove((QUEUED, WAITING))], id="a queue would let it go"),
        pytest.param([OTHER_RUN, QUEUED], [Suspend(OTHER_RUN), Remove((QUEUED,))], id="one of each"),
    ],
)
def test_what_holds_all_of_an_object(jobs: list[Job], actions: list[Suspend | Remove]) -> None:
    assert halts(jobs) == actions


def after(seconds: float) -> Instant:
    return Instant(NOW.micros + round(seconds * 1_000_000))


@pytest.mark.parametrize(
    ("job", "seconds", "due"),
    [
        (LOST, 0, 60),
        (LOST, 45, 15),
        (LOST, 60, 0),
        (replace(LOST, attempt=3), 0, 240),
        (replace(LOST, attempt=40), 0, 900),
        (replace(LOST, digest="d0"), 0, 0),
        (replace(LOST, image="pik:0"), 0, 0),
    ],
)
def test_another_attempt_comes_later_and_later_but_at_once_where_something_changed(
    job: Job, seconds: float, due: float
) -> None:
    assert due_in(job, WANTED, after(seconds)) == due


BARE = {
    "metadata": {"name": "x", "uid": "u", "creationTimestamp": "2026-03-01T12:00:00Z"},
    "spec": {"template": {"spec": {"containers": [{"image": "i"}]}}},
}


def test_a_job_that_somebody_made_by_hand_is_read_too() -> None:
    job = job_of(BARE)
    assert (job.attempt, job.owner, job.state, job.parallelism) == (0, None, JobState.ACTIVE, 1)
    odd = {**BARE, "metadata": {**BARE["metadata"], "annotations": {"pik.dev/attempt": "many"}}}  # type: ignore[dict-item]
    assert job_of(odd).attempt == 0


@pytest.mark.parametrize(("text", "indexes"), [("", ()), ("0", (0,)), ("1,3-5,9", (1, 3, 4, 5, 9))])
def test_failed_indexes(text: str, indexes: tuple[int, ...]) -> None:
    assert job_of({**BARE, "status": {"failedIndexes": text}}).failed_indexes == indexes


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("Complete", JobState.SUCCEEDED),
        ("Failed", JobState.FAILED),
        # its pods have not all stopped yet
        ("FailureTarget", JobState.ACTIVE),
        ("SuccessCriteriaMet", JobState.ACTIVE),
        ("Suspended", JobState.ACTIVE),
    ],
)
def test_a_job_has_ended_when_its_pods_have(kind: str, state: JobState) -> None:
    condition = {"type": kind, "status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z"}
    assert job_of({**BARE, "status": {"conditions": [condition]}}).state is state


def pod(name: str, index: int | None, second: int, **status: object) -> Pod:
    annotations = {} if index is None else {"batch.kubernetes.io/job-completion-index": str(index)}
    return pod_of(
        {
            "metadata": {
                "name": name,
                "uid": name,
                "annotations": annotations,
                "creationTimestamp": f"2026-03-01T12:00:{second:02}Z",
                "ownerReferences": [{"uid": "j1", "controller": True}],
            },
            "status": status,
        }
    )


def test_of_each_shard_the_newest_pod_speaks() -> None:
    pods = [pod("c", 1, 3), pod("a", 0, 1), pod("b", 0, 2), pod("z", None, 9)]
    assert [found.name for found in newest(pods)] == ["z", "c"]


def worker(**state: object) -> dict[str, object]:
    """A pod's status with this state of its container."""
    return {"containerStatuses": [{"name": "worker", "state": state}]}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (worker(), "it was lost"),
        (worker(terminated={"exitCode": 3, "reason": "Error"}), "exit code 3"),
        (
            worker(terminated={"exitCode": 1, "reason": "Error", "message": "Trace\n at\nKeyError: 'x'\n"}),
            "exit code 1: KeyError: 'x'",
        ),
        (
            worker(terminated={"exitCode": 1, "message": '{"level": "error", "message": "no such table"}\n'}),
            "exit code 1: no such table",
        ),
        (
            worker(terminated={"exitCode": 137, "reason": "Error", "message": "the last that it logged"}),
            "it was killed by SIGKILL",
        ),
        (worker(terminated={"exitCode": 255, "reason": "StartError"}), "exit code 255 (StartError)"),
        (
            worker(terminated={"exitCode": 137, "reason": "OOMKilled"}),
            "it was killed since it needed more memory than its limit",
        ),
        ({"reason": "Evicted"}, "it was lost (Evicted)"),
    ],
)
def test_why_a_pod_failed(status: dict[str, object], why: str) -> None:
    assert pod("a", 0, 1, phase="Failed", **status).why() == why


def scheduled(**condition: object) -> dict[str, object]:
    return {"conditions": [{"type": "PodScheduled", **condition}]}


@pytest.mark.parametrize(
    ("status", "stuck"),
    [
        ({}, None),
        (scheduled(status="False", reason="Unschedulable", message="0/3 nodes are available"), None),
        (
            worker(waiting={"reason": "ImagePullBackOff", "message": "no pik:9"}),
            "ImagePullBackOff: no pik:9",
        ),
        (worker(waiting={"reason": "PodInitializing"}), None),
    ],
)
def test_what_keeps_a_pod_from_starting(status: dict[str, object], stuck: str | None) -> None:
    assert pod("a", 0, 1, phase="Pending", **status).stuck == stuck


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({}, None),
        (scheduled(status="True"), None),
        (
            scheduled(status="False", reason="Unschedulable", message="0/3 nodes are available"),
            "0/3 nodes are available",
        ),
        (scheduled(status="False", reason="SchedulingGated"), "SchedulingGated"),
    ],
)
def test_what_a_pod_waits_for(status: dict[str, object], why: str | None) -> None:
    assert pod("a", 0, 1, phase="Pending", **status).unscheduled == why
