"""ReplayJob: shown, approved, run once, whatever becomes of the object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.clusters import Cluster
from controller.manifests import JOB, STREAM, event, events
from pik.api.violations import InvalidManifest
from pik.controller.objects import ObjectKey
from pik.domain.errors import Denied, TargetForbidden, Unavailable
from pik.domain.intake import IntakeRules, Said, assemble
from pik.memory.sink import DELIVERED, accept
from pik.planning.replay.messages import Message
from pik.ports.sinks import Delivery, Disposition

RUN = JOB + "  mode: Run\n"


def job(*lines: str, run: bool = True) -> str:
    return (RUN if run else JOB) + "".join(f"  {line}\n" for line in lines)


async def stream(cluster: Cluster, text: str = STREAM, count: int = 6) -> ObjectKey:
    key = cluster.apply(text)
    await cluster.settle()
    await cluster.ingest(key, events(count))
    await cluster.settle()
    return key


def state(cluster: Cluster, key: ObjectKey) -> str:
    found = cluster.condition(key, "Complete")
    assert found is not None
    return found[1]


async def test_a_stream_that_is_not_there_is_waited_for_and_found(cluster: Cluster) -> None:
    key = cluster.apply(job())
    await cluster.settle()
    assert cluster.condition(key, "Reconciling") == ("True", "StreamNotFound")
    assert cluster.kstatus(key) == "InProgress"
    await cluster.advance(10_000)
    await stream(cluster)
    assert state(cluster, key) == "Succeeded"
    assert cluster.kstatus(key) == "Current"


async def test_a_dry_run_shows_its_plan_and_sends_nothing(cluster: Cluster) -> None:
    await stream(cluster)
    key = cluster.apply(job(run=False))
    await cluster.settle()
    assert cluster.condition(key, "Planned") == ("True", "Planned")
    assert cluster.condition(key, "Complete") == ("False", "Planned")
    assert cluster.condition(key, "Ready") is None
    assert cluster.kstatus(key) == "Current"
    status = cluster.status(key)
    assert (status.plan.matched, status.plan.stale) == (6, 0)
    assert status.observedGeneration == 1
    assert cluster.cloud.target.received == []
    await cluster.advance(10_000)
    assert cluster.status(key) == status


async def test_a_run_sends_the_plan_that_was_shown(cluster: Cluster) -> None:
    things = await stream(cluster)
    key = cluster.apply(job("onStale: Send", run=False))
    await cluster.settle()
    shown = cluster.status(key).plan.hash
    await cluster.ingest(things, [event(50)])  # later: not in the plan
    cluster.apply(job("onStale: Send"))
    await cluster.settle()
    status = cluster.status(key)
    assert status.plan.hash == shown
    assert state(cluster, key) == "Succeeded"
    assert (status.progress.sent, status.progress.failed, status.progress.shardsSucceeded) == (6, 0, 1)
    assert len(cluster.cloud.target.received) == 6
    assert status.run.completionTime is not None
    assert status.run.ledgerURI.startswith(f"s3://{cluster.status(things).storage.bucket}/some/runs/")


@pytest.mark.parametrize("how", ["deleted", "status", "process", "forced"])
async def test_a_run_happens_once(cluster: Cluster, how: str) -> None:
    await stream(cluster)
    key = cluster.apply(job())
    await cluster.settle()
    match how:
        case "deleted":
            cluster.delete(key)
            await cluster.settle()
            assert key not in cluster.objects.there
            cluster.apply(job())
        case "status":
            cluster.forget_status(key)
        case "process":
            await cluster.stop()
            cluster.start()
            cluster.forget_status(key)
        case "forced":
            del cluster.objects.there[key]
            cluster.apply(job())
    await cluster.settle()
    assert state(cluster, key) == "Succeeded"
    assert cluster.status(key).progress.sent == 6
    assert len(cluster.cloud.target.received) == 6
    (told,) = [one.message for _, one in cluster.objects.events if one.reason == "RunFound"]
    assert told.endswith("what that run sent is not sent again")


async def test_another_run_key_is_another_run(cluster: Cluster) -> None:
    await stream(cluster)
    key = cluster.apply(job())
    await cluster.settle()
    first = cluster.status(key).run.id
    cluster.apply(job('runKey: "2"'))
    await cluster.settle()
    assert cluster.status(key).run.id != first
    assert len(cluster.cloud.target.received) == 12


@pytest.mark.parametrize("stale", ["Send", "Skip", "Fail"])
async def test_a_key_that_changes_while_the_plan_is_made_is_one_run(cluster: Cluster, stale: str) -> None:
    await stream(cluster)
    key = cluster.apply(job(f"onStale: {stale}"))
    await cluster.manager.one(key)  # the plan of run 1 is begun
    cluster.apply(job(f"onStale: {stale}", 'runKey: "2"'))
    await cluster.settle()
    assert state(cluster, key) == "Succeeded"
    assert cluster.status(key).run.key == "2"
    assert len(cluster.cloud.target.received) == 6


async def test_a_started_run_is_frozen_and_its_record_knows_its_spec(cluster: Cluster) -> None:
    await stream(cluster)
    key = cluster.apply(job())
    await cluster.settle()
    with pytest.raises(InvalidManifest, match="runKey"):
        cluster.apply(job("shards: 2"))
    del cluster.objects.there[key]
    cluster.apply(job("shards: 2"))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "RunKeyConflict")
    assert len(cluster.cloud.target.received) == 6


OWNED = STREAM + "  replayPolicy: {approval: Required}\n"


async def test_approval_is_of_one_plan(cluster: Cluster) -> None:
    await stream(cluster, OWNED)
    key = cluster.apply(job())
    await cluster.settle()
    assert state(cluster, key) == "AwaitingApproval"
    assert cluster.condition(key, "Approved") == ("False", "AwaitingApproval")
    assert cluster.condition(key, "Ready") is None
    assert cluster.kstatus(key) == "Current"  # nobody who waits for it times out
    plan = cluster.status(key).plan.hash
    cluster.apply(job(f"approval: {{plan: {'a' * 64}, by: mallory}}"))
    await cluster.settle()
    assert state(cluster, key) == "AwaitingApproval"
    assert cluster.cloud.target.received == []
    cluster.apply(job(f"approval: {{plan: {plan}, by: alice}}"))
    await cluster.settle()
    assert state(cluster, key) == "Succeeded"
    assert cluster.condition(key, "Approved") == ("True", "Approved")
    told = [one.message for _, one in cluster.objects.events if one.reason == "Approved"]
    assert told == [f"alice approved plan {plan[:12]}…"]


async def test_an_approval_outlives_the_status(cluster: Cluster) -> None:
    await stream(cluster, OWNED)
    key = cluster.apply(job(run=False))
    await cluster.settle()
    plan = cluster.status(key).plan.hash
    cluster.forget_status(key)
    cluster.clock.advance(100)
    cluster.apply(job(f"approval: {{plan: {plan}, by: alice}}"))
    await cluster.settle()
    assert cluster.status(key).plan.hash == plan
    assert state(cluster, key) == "Succeeded"


async def test_a_changed_spec_wants_a_new_approval(cluster: Cluster) -> None:
    await stream(cluster, OWNED)
    key = cluster.apply(job(run=False))
    await cluster.settle()
    plan = cluster.status(key).plan.hash
    cluster.apply(job(f"approval: {{plan: {plan}, by: alice}}", "shards: 2"))
    await cluster.settle()
    assert state(cluster, key) == "AwaitingApproval"
    assert cluster.status(key).plan.hash != plan
    assert cluster.cloud.target.received == []


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("maxEvents: 3", "PolicyExceeded"),
        ("targets: [{type: SQS}]", "PolicyExceeded"),
        ("maxEventsPerSecond: 5", "PolicyExceeded"),
    ],
)
async def test_the_owners_limits_hold_and_heal(cluster: Cluster, policy: str, reason: str) -> None:
    await stream(cluster, STREAM + f"  replayPolicy: {{{policy}}}\n")
    key = cluster.apply(job("pace: {eventsPerSecond: 6}"))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", reason)
    assert cluster.kstatus(key) == "Failed"
    assert cluster.cloud.target.received == []
    cluster.apply(STREAM)  # the owner changes the policy: the job goes on by itself
    await cluster.settle()
    assert state(cluster, key) == "Succeeded"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http: {url: 'http://169.254.169.254/latest'}", "TargetForbidden"),
        ("http: {url: 'http://127.0.0.1:8000/v1/streams/default/things/events'}", "SelfReplay"),
    ],
)
async def test_targets_that_nothing_is_sent_to(cluster: Cluster, target: str, reason: str) -> None:
    await stream(cluster)
    key = cluster.apply(job().replace('http: {url: "http://127.0.0.1:9/x"}', target))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", reason)
    assert cluster.cloud.target.received == []


async def test_a_target_that_turns_out_to_be_forbidden(cluster: Cluster) -> None:
    await stream(cluster)
    cluster.cloud.fault = lambda call: TargetForbidden("link-local") if call == "sink.send" else None
    key = cluster.apply(job())
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "TargetForbidden")


async def test_another_namespace_needs_access(cluster: Cluster) -> None:
    await stream(cluster)
    elsewhere = job().replace("{name: again}", "{name: again, namespace: other}")
    key = cluster.apply(elsewhere.replace("{name: things}", "{name: things, namespace: default}"))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "AccessDenied")
    cluster.apply(STREAM + "  access: {from: All}\n")
    await cluster.settle()
    assert state(cluster, key) == "Succeeded"


async def test_suspend_holds_and_lets_go(cluster: Cluster) -> None:
    await stream(cluster)
    key = cluster.apply(job("suspend: true"))
    await cluster.settle()
    assert cluster.condition(key, "Suspended") == ("True", "Suspended")
    assert cluster.condition(key, "Ready") is None
    assert cluster.cloud.target.received == []
    cluster.apply(job("suspend: false"))
    await cluster.settle()
    assert state(cluster, key) == "Succeeded"
    assert cluster.condition(key, "Suspended") is None


@pytest.mark.parametrize("hold", ["suspend: true", "mode: DryRun"])
async def test_a_run_is_held_at_a_checkpoint_and_goes_on(cluster: Cluster, hold: str) -> None:
    things = await stream(cluster, count=0)
    await cluster.ingest(things, events(250))
    key = ObjectKey("ReplayJob", "default", "again")
    sent = 0

    async def answer(message: Message) -> Delivery:
        nonlocal sent
        sent += 1
        if sent == 30:  # in the first chunk
            cluster.apply(job(hold).replace("mode: Run\n  mode: DryRun", "mode: DryRun"))
        return DELIVERED

    cluster.cloud.answer = answer
    cluster.apply(job())
    await cluster.settle()
    assert state(cluster, key) == "Suspended"
    assert cluster.status(key).progress.sent == 100  # the chunk that it had begun
    await cluster.advance(1_000)
    assert len(cluster.cloud.target.received) == 100
    cluster.apply(job())
    await cluster.settle()
    assert state(cluster, key) == "Succeeded"
    assert len(cluster.cloud.target.received) == 250


async def test_a_run_stops_where_the_streams_owner_does_not_allow_it_any_more(cluster: Cluster) -> None:
    things = await stream(cluster, STREAM + "  access: {from: All}\n", count=0)
    await cluster.ingest(things, events(250))

    cluster.apply_in_first_chunk(STREAM, namespace="other")
    elsewhere = job().replace("{name: again}", "{name: again, namespace: other}")
    key = cluster.apply(elsewhere.replace("{name: things}", "{name: things, namespace: default}"))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "AccessDenied")
    assert len(cluster.cloud.target.received) == 100  # the chunk that it had begun
    cluster.cloud.answer = accept
    cluster.apply(STREAM + "  access: {from: All}\n")
    await cluster.settle()
    assert state(cluster, key) == "Succeeded"
    assert len(cluster.cloud.target.received) == 250


async def test_a_process_that_ends_is_followed_by_one_that_goes_on(cluster: Cluster) -> None:
    things = await stream(cluster, count=0)
    await cluster.ingest(things, events(250))

    async def answer(message: Message) -> Delivery:
        if len(cluster.cloud.target.received) == 50:
            cluster.background.halting = True
        return DELIVERED

    cluster.cloud.answer = answer
    key = cluster.apply(job())
    await cluster.settle()
    assert len(cluster.cloud.target.received) < 250
    await cluster.stop()
    cluster.start()
    await cluster.settle()
    assert state(cluster, key) == "Succeeded"
    assert sorted(cluster.cloud.target.event_ids) == sorted({*cluster.cloud.target.event_ids})
    assert len(cluster.cloud.target.received) == 250


async def test_a_deleted_job_stops_at_a_checkpoint(cluster: Cluster) -> None:
    things = await stream(cluster, count=0)
    await cluster.ingest(things, events(250))

    async def answer(message: Message) -> Delivery:
        if len(cluster.cloud.target.received) == 30:
            cluster.delete(ObjectKey("ReplayJob", "default", "again"))
        return DELIVERED

    cluster.cloud.answer = answer
    key = cluster.apply(job())
    await cluster.settle()
    await cluster.advance(2)
    assert key not in cluster.objects.there
    assert len(cluster.cloud.target.received) == 100
    cluster.apply(job())
    await cluster.settle()
    assert len(cluster.cloud.target.received) == 250


async def test_a_target_that_is_away_is_told_and_tried(cluster: Cluster) -> None:
    await stream(cluster)
    away = True

    async def answer(message: Message) -> Delivery:
        return Delivery(Disposition.RETRYABLE, "HTTP 503", "Unavailable") if away else DELIVERED

    cluster.cloud.answer = answer
    seen: list[str] = []
    write = cluster.objects.write_status

    async def watched(resource: Any, status: Any) -> None:
        nonlocal away
        await write(resource, status)
        seen.extend(one.reason for one in status.conditions if one.type == "Ready")
        away = away and "TargetUnavailable" not in seen

    cluster.objects.write_status = watched  # type: ignore[method-assign]
    key = cluster.apply(job())
    await cluster.settle()
    assert "TargetUnavailable" in seen
    assert state(cluster, key) == "Succeeded"


async def test_a_target_that_stays_away_ends_the_run(cluster: Cluster) -> None:
    await stream(cluster)

    async def answer(message: Message) -> Delivery:
        return Delivery(Disposition.RETRYABLE, "HTTP 503", "Unavailable")

    cluster.cloud.answer = answer
    key = cluster.apply(job("retriesPerShard: 1"))
    await cluster.settle()
    assert cluster.condition(key, "Failed") == ("True", "RetriesExhausted")
    assert cluster.kstatus(key) == "Failed"
    await cluster.advance(10_000)
    assert cluster.condition(key, "Failed") == ("True", "RetriesExhausted")


async def test_a_refused_event_ends_the_run_or_is_counted(cluster: Cluster) -> None:
    await stream(cluster)

    async def answer(message: Message) -> Delivery:
        bad = message.entity_id == "e1"
        return Delivery(Disposition.REFUSED, "HTTP 400", "BadRequest") if bad else DELIVERED

    cluster.cloud.answer = answer
    stopped = cluster.apply(job())
    held = cluster.apply(job("onError: {action: HoldEntity}").replace("{name: again}", "{name: holding}"))
    await cluster.settle()
    assert cluster.condition(stopped, "Failed") == ("True", "TargetFailed")
    assert cluster.status(stopped).failures[0].reason == "BadRequest"
    assert state(cluster, held) == "SucceededWithFailures"
    assert cluster.condition(held, "Ready") == ("True", "SucceededWithFailures")
    progress = cluster.status(held).progress
    assert (progress.sent, progress.failed, progress.held) == (4, 1, 1)


async def test_stale_events_are_refused(cluster: Cluster) -> None:
    things = await stream(cluster)
    narrow = job().replace('to: "2026-03-01T00:00:00Z"', 'to: "2026-02-10T00:00:04Z"')
    key = cluster.apply(narrow)
    await cluster.settle()
    assert cluster.condition(key, "Failed") == ("True", "StaleEvents")
    assert things in cluster.objects.there
    cluster.apply(narrow + "  onStale: Send\n")
    await cluster.settle()
    assert state(cluster, key) == "Succeeded"
    assert len(cluster.cloud.target.received) == 4


async def test_a_slice_that_has_changed_since_is_not_sent_by_surprise(cluster: Cluster) -> None:
    things = await stream(cluster)
    key = cluster.apply(job(run=False))
    await cluster.settle()
    shown = cluster.status(key).plan.hash
    cluster.clock.advance(5)
    await cluster.ingest(things, [event(50)])
    cluster.apply(job())
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "PlanChanged")
    assert cluster.cloud.target.received == []
    await cluster.advance(200)
    assert cluster.condition(key, "Stalled") == ("True", "PlanChanged")
    cluster.apply(job(run=False))
    await cluster.settle()
    assert cluster.status(key).plan.hash != shown
    assert cluster.status(key).plan.matched == 7
    cluster.apply(job())
    await cluster.settle()
    assert state(cluster, key) == "Succeeded"
    assert len(cluster.cloud.target.received) == 7


async def test_newer_events_outside_the_slice_that_came_since_are_found(cluster: Cluster) -> None:
    things = await stream(cluster)
    key = cluster.apply(job(run=False))
    await cluster.settle()
    cluster.clock.advance(5)
    said = Said("tests", "happened", "e1", "2026-03-01T10:00:00Z", "new")
    await cluster.ingest(things, [assemble(said, b"{}", IntakeRules()).as_ordinary()])
    cluster.apply(job())
    await cluster.settle()
    assert cluster.condition(key, "Failed") == ("True", "StaleEvents")
    assert cluster.cloud.target.received == []


async def test_an_object_that_has_outlived_its_ttl_goes_and_its_record_stays(cluster: Cluster) -> None:
    await stream(cluster)
    key = cluster.apply(job("ttlSecondsAfterFinished: 100"))
    await cluster.settle()
    await cluster.advance(90)
    assert key in cluster.objects.there
    await cluster.advance(30)
    assert key not in cluster.objects.there
    cluster.apply(job("ttlSecondsAfterFinished: 100"))
    await cluster.settle()
    assert len(cluster.cloud.target.received) == 6


async def test_an_edit_of_a_finished_job_needs_nothing_of_its_stream(cluster: Cluster) -> None:
    things = await stream(cluster)
    key = cluster.apply(job())
    await cluster.settle()
    cluster.cloud.fault = lambda call: Denied("no") if call.startswith("objects") else None
    cluster.apply(job("ttlSecondsAfterFinished: 1000"))
    await cluster.settle()
    assert cluster.condition(key, "Complete") == ("True", "Succeeded")
    assert cluster.kstatus(key) == "Current"
    cluster.delete(things)
    await cluster.settle()
    cluster.apply(job("ttlSecondsAfterFinished: 100"))
    await cluster.advance(101)
    assert key not in cluster.objects.there


def rewritten(cluster: Cluster, key: ObjectKey, status: str, reason: str) -> None:
    """Another version of pik has written this of its completion."""
    there = cluster.objects.there[key]
    conditions = tuple(
        one.model_copy(update={"status": status, "reason": reason}) if one.type == "Complete" else one
        for one in there.status.conditions
    )
    cluster.objects.there[key] = there.model_copy(  # type: ignore[assignment]
        update={"status": there.status.model_copy(update={"conditions": conditions})}
    )
    cluster.manager.changed(key)


@pytest.mark.parametrize(
    ("status", "reason"),
    [("False", "AWSRefused"), ("False", "AccessDenied"), ("True", "NewReason"), ("False", "NewReason")],
)
async def test_what_a_status_says_wrongly_of_a_run_that_has_ended_is_set_right_by_its_record(
    cluster: Cluster, status: str, reason: str
) -> None:
    await stream(cluster)
    key = cluster.apply(job())
    await cluster.settle()
    rewritten(cluster, key, status, reason)
    await cluster.settle()
    assert cluster.condition(key, "Complete") == ("True", "Succeeded")
    assert cluster.condition(key, "Stalled") is None
    assert len(cluster.cloud.target.received) == 6


async def test_aws_away_in_the_middle(cluster: Cluster) -> None:
    things = await stream(cluster, count=0)
    await cluster.ingest(things, events(250))

    async def answer(message: Message) -> Delivery:
        if len(cluster.cloud.target.received) == 120:
            cluster.cloud.fault = lambda call: Unavailable("away") if call.startswith("objects") else None
        return DELIVERED

    cluster.cloud.answer = answer
    key = cluster.apply(job())
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("False", "AWSUnavailable")
    cluster.cloud.fault = lambda _: None
    for _ in range(3):
        await cluster.advance(60)
    assert state(cluster, key) == "Succeeded"
    assert {*cluster.cloud.target.event_ids} == {one.event_id for one in events(250)}


async def test_a_condition_that_is_not_allowed(cluster: Cluster) -> None:
    await stream(cluster)
    key = cluster.apply(job().replace("select: {", "select: {where: 'now() > event_time', "))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "InvalidSpec")


async def test_a_finished_job_does_not_wait_for_its_stream_again(cluster: Cluster, tmp_path: Path) -> None:
    things = await stream(cluster)
    key = cluster.apply(job())
    await cluster.settle()
    status = cluster.status(key)
    cluster.delete(things)
    await cluster.settle()
    await cluster.stop()
    cluster.start()
    await cluster.settle()
    assert cluster.status(key) == status
