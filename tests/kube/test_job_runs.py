"""Replays as Jobs: what is asked of the API server, and what becomes of what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from controller.manifests import JOB, STREAM, event, events
from kube.job_clusters import JobCluster, said
from pik.api.conditions import Reason
from pik.api.violations import InvalidManifest
from pik.cluster.errors import KubeDenied, KubeError
from pik.cluster.jobs.manifests import selector_of
from pik.cluster.jobs.task import ReplayTask
from pik.cluster.jobs.verdicts import ExitCode
from pik.cluster.jobs.watching import JobOnlooker
from pik.controller.objects import ObjectKey
from pik.controller.replay_runs import InProcessRuns
from pik.domain.errors import Unavailable
from pik.execution.replay.ledger import ShardProgress
from pik.memory.sink import DELIVERED
from pik.planning.replay.messages import Message
from pik.planning.replay.records import Totals
from pik.ports.sinks import Delivery, Disposition

RUN = JOB + "  mode: Run\n"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[JobCluster]:
    made = JobCluster(tmp_path)
    things = made.apply(STREAM)
    await made.settle()
    await made.ingest(things, events(6))
    await made.settle()
    yield made
    await made.stop()


async def applied(cluster: JobCluster, *lines: str, text: str = RUN) -> ObjectKey:
    key = cluster.apply(text + "".join(f"  {line}\n" for line in lines))
    await cluster.settle()
    return key


def state(cluster: JobCluster, key: ObjectKey) -> tuple[str, str]:
    """Reason and message of how far it is."""
    found = next(one for one in cluster.status(key).conditions if one.type == "Complete")
    return found.reason, found.message


async def test_a_run_becomes_an_indexed_job_and_its_end_is_recorded_before_the_job_may_go(
    cluster: JobCluster,
) -> None:
    key = await applied(cluster, "shards: 2", "parallelism: 2")
    job = cluster.api.job()
    assert "ttlSecondsAfterFinished" not in job["spec"]
    assert job["metadata"]["name"].startswith("again-")
    assert state(cluster, key)[0] == "Running"
    await cluster.run_shards()
    assert cluster.status(key).run.completionTime is None
    await cluster.advance(4)
    status = cluster.status(key)
    assert state(cluster, key)[0] == "Succeeded"
    assert (status.progress.sent, status.progress.shardsSucceeded) == (6, 2)
    assert len(cluster.cloud.target.received) == 6
    assert cluster.api.job()["spec"]["ttlSecondsAfterFinished"] == 600
    (table,) = cluster.account.tables.values()
    assert table.marks == {}
    asked = len(cluster.api.calls)
    await cluster.advance(10_000)
    assert len(cluster.api.calls) == asked


async def test_the_ttl_waits_for_the_record(cluster: JobCluster) -> None:
    key = await applied(cluster)
    await cluster.run_shards()

    def no_end(call: str) -> Exception | None:
        return Unavailable("away") if call == "objects.create" else None

    cluster.cloud.fault = no_end
    await cluster.advance(4)
    assert state(cluster, key)[0] == "AWSUnavailable"
    assert "ttlSecondsAfterFinished" not in cluster.api.job()["spec"]
    cluster.cloud.fault = lambda _: None
    await cluster.advance(120)
    assert state(cluster, key)[0] == "Succeeded"
    assert cluster.api.job()["spec"]["ttlSecondsAfterFinished"] == 600


async def test_progress_comes_by_one_reading_and_is_written_only_where_it_changed(
    cluster: JobCluster,
) -> None:
    key = await applied(cluster)
    job = cluster.api.job()
    cluster.api.says(job, active=1, ready=1)
    await cluster.shard(job, 0, chunks=2)
    await cluster.advance(4)
    assert cluster.status(key).progress.sent == 2
    written, calls = len(cluster.objects.written), cluster.cloud.calls.copy()
    await cluster.advance(4)
    assert len(cluster.objects.written) == written
    assert (cluster.cloud.calls - calls)["index.marks"] == 1
    assert (cluster.cloud.calls - calls)["objects.list"] == 0
    await cluster.shard(job, 0, chunks=1)
    await cluster.advance(4)
    assert cluster.status(key).progress.sent == 3
    # a new process has only the bucket and the marks; a new table has no marks
    cluster.start()
    (table,) = cluster.account.tables.values()
    table.marks.clear()
    await cluster.settle()
    assert cluster.status(key).progress.sent == 3
    # and one of an earlier time says nothing new
    run = cluster.status(key).run.id
    earlier = ShardProgress(chunks=1, totals=Totals(sent=1))
    table.marks[run] = {0: (earlier.number, msgspec.json.encode(earlier).decode())}
    await cluster.advance(4)
    assert cluster.status(key).progress.sent == 3


async def test_held_and_gone_on_with(cluster: JobCluster) -> None:
    key = await applied(cluster)
    job = cluster.api.job()
    await cluster.shard(job, 0, chunks=2)
    await applied(cluster, "suspend: true")
    assert cluster.api.job()["spec"]["suspend"] is True
    assert state(cluster, key)[0] == "Suspended"
    assert cluster.kstatus(key) == "Current"
    await cluster.advance(10)
    assert cluster.status(key).progress.sent == 2
    await applied(cluster)
    again = cluster.api.job()
    assert again["spec"]["suspend"] is False
    assert again["metadata"]["uid"] == job["metadata"]["uid"]
    await cluster.run_shards()
    await cluster.advance(4)
    assert state(cluster, key)[0] == "Succeeded"
    assert len(cluster.cloud.target.received) == 6


THINGS = ObjectKey("CaptureStream", "default", "things")
ELSEWHERE = RUN.replace("{name: again}", "{name: again, namespace: other}").replace(
    "streamRef: {name: things}", "streamRef: {name: things, namespace: default}"
)


async def without_stream(cluster: JobCluster, how: str) -> None:
    if how == "deleted":
        cluster.delete(THINGS)
    else:
        cluster.opened(THINGS).whole = False
    await cluster.settle()


@pytest.mark.parametrize("how", ["deleted", "not ready"])
@pytest.mark.parametrize("hold", ["suspend: true", "mode: DryRun"])
async def test_held_also_while_its_stream_is_not_there(cluster: JobCluster, how: str, hold: str) -> None:
    key = await applied(cluster)
    await without_stream(cluster, how)
    assert cluster.api.job()["spec"]["suspend"] is False  # a run that is wanted goes on without it
    await applied(cluster, hold, text=RUN if hold.startswith("suspend") else JOB)
    assert cluster.api.job()["spec"]["suspend"] is True
    assert cluster.condition(key, "Suspended") == ("True", "Suspended")
    assert "default/things" in state(cluster, key)[1]
    assert cluster.kstatus(key) == "Current"


async def test_its_approval_taken_away_holds_it_also_then(cluster: JobCluster) -> None:
    cluster.apply(STREAM + "  replayPolicy: {approval: Required}\n")
    key = await applied(cluster)
    await applied(cluster, f"approval: {{plan: {cluster.status(key).plan.hash}, by: alice}}")
    await without_stream(cluster, "not ready")
    assert cluster.api.job()["spec"]["suspend"] is False
    await applied(cluster)
    assert cluster.api.job()["spec"]["suspend"] is True
    assert state(cluster, key)[0] == "AwaitingApproval"


async def test_a_run_of_another_key_is_held_while_its_stream_is_not_there(cluster: JobCluster) -> None:
    key = await applied(cluster)
    await without_stream(cluster, "deleted")
    await applied(cluster, 'runKey: "2"')
    assert cluster.api.job()["spec"]["suspend"] is True
    assert state(cluster, key)[0] == "StreamNotFound"


@pytest.mark.parametrize("access", ["{from: Same}", "{from: Selector, selector: {matchLabels: {team: a}}}"])
@pytest.mark.parametrize("readable", [True, False])
async def test_whoever_may_not_refer_to_the_stream_any_more_is_held(
    cluster: JobCluster, access: str, readable: bool
) -> None:
    cluster.apply(STREAM + "  access: {from: All}\n")
    key = await applied(cluster, text=ELSEWHERE)
    (job,) = cluster.api.jobs("other")
    await cluster.shard(job, 0, chunks=2)
    cluster.tenants.labels_of = {} if readable else None
    cluster.apply(STREAM + f"  access: {access}\n")
    await cluster.advance(4)
    (held,) = cluster.api.jobs("other")
    assert held["spec"]["suspend"] is True
    unreadable = "Selector" in access and not readable
    assert state(cluster, key)[0] == ("SelectorNotReadable" if unreadable else "AccessDenied")
    assert state(cluster, key)[1].endswith("the run that was begun is held")
    cluster.apply(STREAM + "  access: {from: All}\n")
    await cluster.advance(4)
    (again,) = cluster.api.jobs("other")
    assert (again["spec"]["suspend"], again["metadata"]["uid"]) == (False, job["metadata"]["uid"])
    assert state(cluster, key)[0] == "Running"


async def test_a_queue_lets_its_job_go_and_pik_never_does(cluster: JobCluster) -> None:
    labelled = RUN.replace(
        "{name: again}", "{name: again, labels: {kueue.x-k8s.io/queue-name: slow, team: blue}}"
    )
    key = await applied(cluster, text=labelled)
    job = cluster.api.job()
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "slow"
    assert "team" not in job["metadata"]["labels"]
    await cluster.advance(100)
    assert state(cluster, key)[0] == "Queued"
    assert cluster.api.job()["spec"]["suspend"] is True
    await applied(cluster, "suspend: true", text=labelled)  # to hold it, pik takes it away from the queue
    assert "deletionTimestamp" in cluster.api.job()["metadata"]
    cluster.api.sweep()
    await applied(cluster, text=labelled)
    await cluster.advance(2)
    job = cluster.api.job()
    assert job["spec"]["suspend"] is True
    path = f"/apis/batch/v1/namespaces/default/jobs/{job['metadata']['name']}"
    await cluster.api.patch(path, {"spec": {"suspend": False}})  # the queue
    await cluster.advance(60)
    assert state(cluster, key)[0] == "Running"
    assert cluster.api.job()["spec"]["suspend"] is False


async def test_parallelism_changes_the_job_and_pace_makes_another(cluster: JobCluster) -> None:
    await applied(cluster, "shards: 4", "parallelism: 2")
    first = cluster.api.job()
    await applied(cluster, "shards: 4", "parallelism: 3")
    assert cluster.api.job()["metadata"]["uid"] == first["metadata"]["uid"]
    assert cluster.api.job()["spec"]["parallelism"] == 3
    await applied(cluster, "shards: 4", "parallelism: 3", "pace: {eventsPerSecond: 90}")
    assert "deletionTimestamp" in cluster.api.job()["metadata"]
    await cluster.advance(2)
    assert len(cluster.api.jobs()) == 1  # the other one's pods have not stopped yet
    cluster.api.sweep()
    await cluster.advance(2)
    second = cluster.api.job()
    assert second["metadata"]["name"].endswith("-2")
    task = cluster.task(second)
    assert isinstance(task, ReplayTask)
    assert task.pace.events_per_second == 30


@pytest.mark.parametrize("how", ["deleted", "vanished"])
async def test_a_job_that_somebody_removed_is_made_again(cluster: JobCluster, how: str) -> None:
    key = await applied(cluster)
    job = cluster.api.job()
    await cluster.shard(job, 0, chunks=3)
    if how == "deleted":
        path = f"/apis/batch/v1/namespaces/default/jobs/{job['metadata']['name']}"
        await cluster.api.delete(path, {"propagationPolicy": "Foreground"})
        await cluster.advance(4)
        assert state(cluster, key)[0] == "Running"
        assert len(cluster.api.jobs()) == 1
        cluster.api.sweep()
    else:
        cluster.api.objects.clear()
    await cluster.advance(4)
    assert cluster.api.job()["metadata"]["uid"] != job["metadata"]["uid"]
    await cluster.run_shards()
    await cluster.advance(4)
    assert state(cluster, key)[0] == "Succeeded"
    assert len(cluster.cloud.target.received) == 6


@pytest.mark.parametrize("how", ["deleted", "status", "forced", "operator"])
async def test_a_run_that_has_ended_makes_no_job(cluster: JobCluster, how: str) -> None:
    key = await applied(cluster)
    await cluster.run_shards()
    await cluster.advance(4)
    cluster.api.objects.clear()  # their TTL
    match how:
        case "deleted":
            cluster.delete(key)
            await cluster.settle()
            await applied(cluster)
        case "status":
            cluster.forget_status(key)
        case "forced":
            del cluster.objects.there[key]
            await applied(cluster)
        case "operator":
            cluster.start()
            cluster.forget_status(key)
    await cluster.advance(10)
    assert state(cluster, key)[0] == "Succeeded"
    assert cluster.api.jobs() == []
    assert len(cluster.cloud.target.received) == 6


async def test_the_job_of_an_object_that_was_replaced_by_force_gives_way(cluster: JobCluster) -> None:
    key = await applied(cluster)
    job = cluster.api.job()
    await cluster.shard(job, 0, chunks=3)
    del cluster.objects.there[key]
    await applied(cluster)
    assert "deletionTimestamp" in cluster.api.job()["metadata"]
    cluster.api.sweep()
    await cluster.advance(4)
    owner = cluster.api.job()["metadata"]["ownerReferences"][0]["uid"]
    assert owner == cluster.objects.there[key].metadata.uid != job["metadata"]["ownerReferences"][0]["uid"]
    await cluster.run_shards()
    await cluster.advance(4)
    assert len(cluster.cloud.target.received) == 6


async def test_another_run_key_stops_what_is_at_work(cluster: JobCluster) -> None:
    await applied(cluster)
    await applied(cluster, 'runKey: "2"', text=JOB)
    (first,) = cluster.api.jobs()
    assert "deletionTimestamp" in first["metadata"]
    cluster.api.sweep()
    await applied(cluster, 'runKey: "2"')
    second = cluster.api.job()
    assert second["metadata"]["labels"]["pik.dev/run"] != first["metadata"]["labels"]["pik.dev/run"]


async def test_an_object_that_goes_takes_its_jobs_along(cluster: JobCluster) -> None:
    key = await applied(cluster)
    cluster.delete(key)  # and its Job was orphaned
    await cluster.settle()
    cluster.api.sweep()
    assert cluster.api.jobs() == []


async def test_an_object_that_comes_back_while_it_is_being_forgotten_is_seen(cluster: JobCluster) -> None:
    key = await applied(cluster)

    def come_back(call: str) -> None:
        cluster.api.fault = lambda _: None
        cluster.apply(RUN)

    del cluster.objects.there[key]
    cluster.manager.changed(key)
    cluster.api.fault = come_back
    await cluster.settle()
    assert state(cluster, key)[0] == "Running"


@pytest.mark.parametrize(("policy", "reason"), [("Stop", "TargetFailed"), ("HoldEntity", "RetriesExhausted")])
async def test_a_failed_index_ends_the_run(cluster: JobCluster, policy: str, reason: str) -> None:
    async def answer(message: Message) -> Delivery:
        return Delivery(Disposition.REFUSED, "no", "BadRequest")

    key = await applied(cluster, f"onError: {{action: {policy}}}", "retriesPerShard: 2")
    job = cluster.api.job()
    assert job["spec"].get("maxFailedIndexes") == (0 if policy == "Stop" else None)
    assert job["spec"]["backoffLimitPerIndex"] == 2
    if policy == "Stop":
        cluster.cloud.answer = answer
        assert await cluster.shard(job, 0) is ExitCode.FAILED
        cluster.api.failed_pod(job, 0, 10, said(ExitCode.FAILED, Reason.TARGET_FAILED, "it said no"))
        cluster.api.ended(job, "Failed", "MaxFailedIndexesExceeded", failedIndexes="0", failed=1)
    else:
        message = said(ExitCode.AGAIN, Reason.TARGET_UNAVAILABLE, "HTTP 503")
        cluster.api.failed_pod(job, 0, 1, message)
        cluster.api.ended(job, "Failed", "FailedIndexes", failedIndexes="0", failed=3)
    await cluster.advance(4)
    assert state(cluster, key)[0] == reason
    assert cluster.condition(key, "Failed") == ("True", reason)
    if policy != "Stop":
        assert "HTTP 503" in state(cluster, key)[1]
    assert cluster.api.job()["spec"]["ttlSecondsAfterFinished"] == 600
    await cluster.advance(10_000)
    assert len(cluster.api.jobs()) == 1


async def test_what_no_pod_can_do_stalls_and_is_tried_again_when_it_may_have_been_mended(
    cluster: JobCluster,
) -> None:
    key = await applied(cluster)
    job = cluster.api.job()
    message = said(ExitCode.MISCONFIGURED, Reason.AWS_REFUSED, "s3:GetObject is denied")
    cluster.api.failed_pod(job, 0, 11, message)
    cluster.api.ended(job, "Failed", "PodFailurePolicy", failed=1)
    await cluster.advance(4)
    assert cluster.condition(key, "Stalled") == ("True", "AWSRefused")
    assert state(cluster, key) == ("AWSRefused", "s3:GetObject is denied")
    await cluster.advance(30)
    assert len(cluster.api.jobs()) == 1
    await cluster.advance(60)
    await cluster.advance(4)
    live = [one for one in cluster.api.jobs() if "deletionTimestamp" not in one["metadata"]]
    assert [one["metadata"]["name"][-2:] for one in live] == ["-2"]
    cluster.api.sweep()
    await cluster.run_shards()
    await cluster.advance(4)
    assert state(cluster, key)[0] == "Succeeded"
    assert cluster.condition(key, "Stalled") is None


async def test_a_change_of_the_object_ends_the_waiting(cluster: JobCluster) -> None:
    key = await applied(cluster)
    job = cluster.api.job()
    cluster.api.failed_pod(job, 0, 11, said(ExitCode.MISCONFIGURED, Reason.AWS_REFUSED, "denied"))
    cluster.api.ended(job, "Failed", "PodFailurePolicy", failed=1)
    await cluster.advance(4)
    await applied(cluster, "execution: {serviceAccountName: sender}")
    await cluster.advance(2)
    cluster.api.sweep()
    assert cluster.api.job()["spec"]["template"]["spec"]["serviceAccountName"] == "sender"
    assert state(cluster, key)[0] == "Running"


@pytest.mark.parametrize("what", ["image", "unschedulable", "quota", "away", "crash"])
async def test_what_keeps_pods_from_their_work_is_said_within_a_pass(cluster: JobCluster, what: str) -> None:
    key = await applied(cluster, "shards: 3")
    job = cluster.api.job()
    cluster.clock.advance(3)
    cluster.api.says(job, active=1)
    match what:
        case "image":
            waiting = {"reason": "ImagePullBackOff", "message": "there is no pik:test"}
            cluster.api.pod(
                job, 0, phase="Pending", containerStatuses=[{"name": "worker", "state": {"waiting": waiting}}]
            )
        case "unschedulable":
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "full",
            }
            cluster.api.pod(job, 0, phase="Pending", conditions=[condition])
        case "quota":
            cluster.api.says(job)
            cluster.api.event(job, 'pods "again" is forbidden: exceeded quota: small')
        case "away":
            cluster.api.says(job, failed=1)
            cluster.api.failed_pod(job, 2, 1, said(ExitCode.AGAIN, Reason.TARGET_UNAVAILABLE, "HTTP 503"))
        case "crash":
            cluster.api.says(job, active=1, ready=1, failed=1)
            cluster.api.failed_pod(job, 0, 137, reason="OOMKilled")
            cluster.api.pod(job, 1, phase="Running")
    await cluster.settle()
    await cluster.advance(4)
    shown = {
        "image": ("WorkerFailed", "cannot start: ImagePullBackOff: there is no pik:test"),
        "unschedulable": ("Running", "waits for a node: full"),
        "quota": ("WorkerFailed", 'no pod can be made: pods "again" is forbidden: exceeded quota: small'),
        "away": ("TargetUnavailable", "shard 2: HTTP 503"),
        "crash": ("Running", "shard 0: it was killed since it needed more memory than its limit"),
    }
    reason, message = state(cluster, key)
    assert reason == shown[what][0]
    assert message.endswith(shown[what][1])
    assert cluster.kstatus(key) == ("Failed" if what in ("image", "quota") else "InProgress")
    await cluster.advance(4)
    failed = [one for _, one in cluster.objects.events if one.reason == "ShardFailed"]
    assert len(failed) == (what in ("away", "crash"))  # once for each pod
    cluster.api.says(job, active=1, ready=1, failed=1 if what in ("away", "crash") else 0)
    for index in range(3):
        cluster.clock.advance(1)
        cluster.api.pod(job, index, phase="Running")
    JobOnlooker(cluster.queue.add).seen(job)  # the watch: what is stalled is looked at ever more seldom
    await cluster.advance(4)
    assert state(cluster, key) == ("Running", "Events are being sent.")


async def test_a_job_that_the_api_server_refuses_is_said_and_tried_again(cluster: JobCluster) -> None:
    def refuse(call: str) -> KubeError | None:
        return KubeDenied("exceeded quota: count/jobs.batch") if call.startswith("POST") else None

    cluster.api.fault = refuse
    key = await applied(cluster)
    assert state(cluster, key) == ("KubernetesRefused", "exceeded quota: count/jobs.batch")
    cluster.api.fault = lambda _: None
    await cluster.advance(70)
    assert state(cluster, key)[0] == "Running"
    assert len(cluster.api.jobs()) == 1


@pytest.mark.parametrize("restored", [False, True])
async def test_a_run_that_was_begun_is_seen_though_its_job_is_refused(
    cluster: JobCluster, restored: bool
) -> None:
    cluster.apply(STREAM + "  replayPolicy: {approval: Required}\n")
    key = await applied(cluster)
    plan = cluster.status(key).plan.hash
    cluster.api.fault = lambda call: KubeDenied("exceeded quota") if call.startswith("POST") else None
    approval = f"approval: {{plan: {plan}, by: alice}}"
    await applied(cluster, approval)
    if restored:
        cluster.objects.events.clear()
        cluster.forget_status(key)  # the write that would have said it was lost
        await cluster.settle()
    assert state(cluster, key) == ("KubernetesRefused", "exceeded quota")
    assert (cluster.status(key).run.key, cluster.status(key).plan.hash) == ("1", plan)
    with pytest.raises(InvalidManifest, match="runKey"):
        cluster.apply(RUN.replace("9/x", "9/y") + f"  {approval}\n")
    cluster.api.fault = lambda _: None
    await cluster.advance(70)
    assert state(cluster, key)[0] == "Running"
    told = [one.message for at, one in cluster.objects.events if at == key and one.reason == "Approved"]
    assert told == [f"alice approved plan {plan[:12]}…"]


async def test_objects_whose_names_begin_the_same_have_jobs_of_their_own(cluster: JobCluster) -> None:
    names = [f"{'long.' * 20}{letter}" for letter in "ab"]
    texts = [RUN.replace("again", name).replace("9/x", f"9/{name[-1]}") for name in names]
    keys = [await applied(cluster, text=text) for text in texts]
    assert selector_of(keys[0]) == selector_of(keys[1])
    jobs = cluster.api.jobs()
    assert len(jobs) == 2
    assert all(len(job["metadata"]["name"]) <= 61 and "." not in job["metadata"]["name"] for job in jobs)
    cluster.delete(keys[0])
    await cluster.settle()
    cluster.api.sweep()
    assert cluster.api.job()["metadata"]["annotations"]["pik.dev/object"] == names[1]


async def test_a_change_of_a_job_wakes_its_object(cluster: JobCluster) -> None:
    key = await applied(cluster)
    woken: list[ObjectKey] = []
    onlooker = JobOnlooker(woken.append)
    job = cluster.api.job()
    onlooker.listed([job, {"metadata": {"name": "by-hand", "namespace": "default"}}])
    onlooker.seen(job)
    onlooker.gone(job)
    assert woken == [key, key, key]


async def test_no_secret_is_in_a_task_and_this_process_reads_none(cluster: JobCluster) -> None:
    hook = RUN.replace('url: "http://127.0.0.1:9/x"', 'url: "http://127.0.0.1:9/x", secretRef: {name: hook}')
    key = await applied(cluster, text=hook)
    pod = cluster.api.job()["spec"]["template"]["spec"]
    assert {"name": "target", "secret": {"secretName": "hook", "optional": True}} in pod["volumes"]
    resource = cluster.objects.there[key]
    in_process = InProcessRuns(
        cluster.background, cluster.cloud, clock=cluster.clock, entropy=cluster.entropy, wake=lambda _: None
    )
    refusal = in_process.refusal(resource)  # type: ignore[arg-type]
    assert refusal is not None
    assert refusal.reason is Reason.SECRET_NOT_READABLE
    other = cluster.apply(RUN.replace("again", "plain"))
    assert in_process.refusal(cluster.objects.there[other]) is None  # type: ignore[arg-type]


async def test_events_that_come_later_are_not_in_the_run(cluster: JobCluster) -> None:
    key = await applied(cluster, "onStale: Send")
    things = ObjectKey("CaptureStream", "default", "things")
    await cluster.ingest(things, [event(50)])
    await cluster.run_shards()
    await cluster.advance(4)
    assert cluster.status(key).progress.sent == 6


def test_a_verdict_fits_into_a_termination_message() -> None:
    text = said(ExitCode.FAILED, Reason.TARGET_FAILED, "ü" * 5_000)
    assert msgspec.json.decode(text)["code"] == 10
    assert DELIVERED.disposition is Disposition.DELIVERED
