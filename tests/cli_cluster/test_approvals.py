"""`pik approve` where the chart's admission policy governs who may."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_cluster.people import APPROVE, CREATE, EVENTS, LOOK, MANIFESTS, SET, Person, Team
from cli_cluster.work import at_work, rows, wait
from kube.approval_policy import install, unbind
from pik.aws.clients import AwsAccess, AwsClients
from pik.cluster.api import KubeApi
from pik.cluster.console import Console, NotAllowed

PLAN = "ab" * 32
PLANNED = {"plan": {"hash": PLAN, "asOf": "2026-01-01T00:00:00.000000Z", "matched": 312}}
STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {name: readings}
spec:
  storage: {prefix: readings}
  replayPolicy: {approval: Required}
  mapping:
    source: {value: sensors}
    eventType: {value: reading}
    entityID: {paths: [sensor]}
    eventTime: {paths: [at]}
"""


@pytest.fixture
def governed(team: Team) -> Iterator[Team]:
    """Where the policy is at work, and a job shows a plan."""
    team.with_status("rj", "again", PLANNED)
    install(team.cluster, team.namespace)
    yield team
    unbind(team.cluster, team.namespace)


def test_who_may_not_approve_is_told_what_it_takes(governed: Team) -> None:
    developer = governed.person("developer", LOOK, SET, CREATE)
    refused = developer.asks("approve", "again", code=1).stderr
    assert refused == (
        f"error: developer@example.com may not approve replays in namespace {governed.namespace}: that takes "
        "the verb update on replayjobs/approval (group pik.dev). Have somebody who has it approve the plan, "
        "with pik approve\n"
    )
    assert "approval" not in governed.there("rj", "again")["spec"]
    developer.asks("suspend", "rj", "again")  # what else may be changed still may be


def test_who_may_approve_does_and_gitops_leaves_it_there(governed: Team) -> None:
    oncall = governed.person("oncall", LOOK, SET, APPROVE)
    oncall.asks("approve", "again")
    approval = {"plan": PLAN, "by": "oncall@example.com"}
    assert governed.there("rj", "again")["spec"]["approval"] == approval
    flux = governed.person("flux", LOOK, SET, CREATE)  # who may not approve
    apply = ("apply", "-n", governed.namespace, "--server-side", "--force-conflicts", "-f", "-")
    manager = ("--field-manager", "kustomize-controller")
    governed.cluster.kubectl(*apply, *manager, stdin=MANIFESTS, as_=flux.kubeconfig)
    assert governed.there("rj", "again")["spec"]["approval"] == approval
    oncall.asks("approve", "again")  # again does no harm


async def test_a_plan_that_has_changed_meanwhile_is_not_approved(governed: Team, kube_api: KubeApi) -> None:
    console = Console(kube_api)
    there = governed.there("rj", "again")
    other = {**PLANNED, "plan": {**PLANNED["plan"], "hash": "cd" * 32}}
    await asyncio.to_thread(governed.with_status, "rj", "again", other)
    with pytest.raises(
        NotAllowed, match=rf"^spec\.approval\.plan is not the plan that is shown by now, {'cd' * 32}"
    ):
        await console.approve(there, PLAN, await console.user())


def test_a_run_that_waits_goes_on_when_it_is_approved(
    governed: Team, emulator: str, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator)
    queue = AwsClients(AwsAccess(endpoint_url=emulator)).client("sqs").create_queue(QueueName=unique)
    oncall: Person = governed.person("oncall", LOOK, EVENTS, SET, CREATE, APPROVE)
    governed.gitops(STREAM)
    with at_work(governed, emulator, tmp_path):
        wait(oncall, "cst", "readings", "Ready")
        oncall.asks("import", rows(tmp_path / "rows.csv", "a,2013-07-10T05:00:00Z,5"), "--stream", "readings")
        window = ("--from", "2013-07-10T00:00:00Z", "--to", "2013-07-11T00:00:00Z")
        oncall.asks("replay", "readings", "--name", "late", *window, "--to-queue", queue["QueueUrl"], "--run")
        wait(oncall, "rj", "late", "Approved=False")
        assert oncall.reads("get", "rj", "late")["status"].get("progress") is None
        plan = oncall.reads("get", "rj", "late")["status"]["plan"]["hash"]
        oncall.asks("approve", "late", "--plan", plan[:8])
        wait(oncall, "rj", "late", "Complete")
        page = oncall.asks("describe", "rj", "late").stdout
        assert f"oncall@example.com approved plan {plan[:12]}" in " ".join(page.split())
        (run,) = oncall.reads("runs", "readings")
        assert (run["state"], run["sent"]) == ("Succeeded", 1)
