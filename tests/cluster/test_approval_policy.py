"""Who may approve a replay is RBAC's business: the chart's policy on a real API server, with real people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.table import base
from cluster.errors import CommandFailed
from cluster.handle import Cluster
from kube.approval_policy import install, unbind, uninstall
from pik.aws.system import SystemClock, ThreadOffload
from pik.cluster.api import KubeApi, configuration
from pik.cluster.approvals import GovernedApprovals
from pik.cluster.errors import KubeDenied, KubeUnavailable
from pik.controller.objects import ObjectKey
from pik.memory.system import ManualClock

JOB = "late-flights"
PLAN = "ab" * 32
RULES = {
    "tenant": [{"apiGroups": ["pik.dev"], "resources": ["replayjobs"], "verbs": ["create", "get", "patch"]}],
    "operator": [{"apiGroups": ["pik.dev"], "resources": ["replayjobs"], "verbs": ["patch"]}],
    "approver": [
        {"apiGroups": ["pik.dev"], "resources": ["replayjobs"], "verbs": ["create", "get", "patch"]},
        {"apiGroups": ["pik.dev"], "resources": ["replayjobs/approval"], "verbs": ["update"]},
    ],
}


@dataclass(frozen=True)
class Site:
    """A namespace with a policy, a job that shows a plan, and people: an approver, a tenant who may change
    jobs, and the operator."""

    cluster: Cluster
    namespace: str
    people: dict[str, Path]

    def patch(self, who: str | None, spec: dict[str, Any], *more: str, name: str = JOB) -> str:
        """None: the administrator. Raises `CommandFailed`."""
        body = json.dumps({"spec": spec})
        words = ("patch", "replayjob", name, "-n", self.namespace, "--type=merge", "-p", body, *more)
        return self.cluster.kubectl(*words, as_=None if who is None else self.people[who])

    def approve(self, who: str, plan: str = PLAN, by: str | None = None, *more: str) -> str:
        return self.patch(who, {"approval": {"plan": plan, "by": who if by is None else by}}, *more)

    def create(self, who: str, manifest: dict[str, Any]) -> str:
        return self.cluster.kubectl(
            "create", "-n", self.namespace, "-f", "-", stdin=json.dumps(manifest), as_=self.people[who]
        )

    def spec(self, name: str = JOB) -> dict[str, Any]:
        shown = self.cluster.kubectl("get", "replayjob", name, "-n", self.namespace, "-o", "json")
        spec: dict[str, Any] = json.loads(shown)["spec"]
        return spec


@pytest.fixture
def site(control_plane: Cluster, kube_namespace: str) -> Iterator[Site]:
    people = {}
    made: list[dict[str, Any]] = [named(base("replay-job"), kube_namespace)]
    for who, rules in RULES.items():
        made += rights(who, kube_namespace, rules)
        people[who] = control_plane.kubeconfig_for(who)
    items = {"apiVersion": "v1", "kind": "List", "items": made}
    control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(items))
    show_plan(control_plane, kube_namespace, PLAN)
    install(control_plane, kube_namespace)
    yield Site(control_plane, kube_namespace, people)
    unbind(control_plane, kube_namespace)


def named(manifest: dict[str, Any], namespace: str, **spec: Any) -> dict[str, Any]:
    metadata = {**manifest["metadata"], "namespace": namespace}
    return {**manifest, "metadata": metadata, "spec": {**manifest["spec"], **spec}}


def rights(who: str, namespace: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A Role and its binding."""
    api = "rbac.authorization.k8s.io"
    meta = {"name": who, "namespace": namespace}
    ref = {"apiGroup": api, "kind": "Role", "name": who}
    subjects = [{"apiGroup": api, "kind": "User", "name": who}]
    return [
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": ref,
            "subjects": subjects,
        },
    ]


def show_plan(cluster: Cluster, namespace: str, plan: str) -> None:
    """As the operator does."""
    status = {"status": {"plan": {"hash": plan, "asOf": "2013-07-12T00:00:00.000000Z"}}}
    cluster.kubectl(
        *("patch", "replayjob", JOB, "-n", namespace, "--subresource=status", "--type=merge"),
        *("-p", json.dumps(status)),
    )


@contextmanager
def guard(kubeconfig: Path, clock: ManualClock | SystemClock) -> Iterator[GovernedApprovals]:
    threads = ThreadOffload(2)
    yield GovernedApprovals(KubeApi(configuration(kubeconfig), threads, threads, 2), clock)
    threads.close()


def test_an_approver_approves_the_plan_that_is_shown(site: Site) -> None:
    site.approve("approver")
    assert site.spec()["approval"] == {"plan": PLAN, "by": "approver"}


def test_who_may_change_jobs_may_not_approve_them(site: Site) -> None:
    with pytest.raises(CommandFailed) as refusal:
        site.approve("tenant")
    assert "pik-replayjob-approval" in str(refusal.value)
    assert "tenant may not approve replays in namespace" in str(refusal.value)
    assert "the verb update on replayjobs/approval (group pik.dev)" in str(refusal.value)
    with pytest.raises(CommandFailed, match="tenant may not approve"):
        site.approve("tenant", by="approver")
    assert "approval" not in site.spec()


def test_nobody_approves_in_anothers_name(site: Site) -> None:
    with pytest.raises(
        CommandFailed, match=r"spec\.approval\.by must be who approves, approver, and is jane"
    ):
        site.approve("approver", by="jane")


def test_a_plan_that_is_not_shown_is_not_approved(site: Site) -> None:
    with pytest.raises(CommandFailed, match=f"is not the plan that is shown by now, {PLAN}. Look at status"):
        site.approve("approver", plan="cd" * 32)
    site.approve("approver")
    show_plan(site.cluster, site.namespace, "ef" * 32)
    with pytest.raises(CommandFailed, match="is not the plan that is shown by now"):
        site.approve("approver", plan="cd" * 32)


def test_a_job_without_a_plan_is_not_approved(site: Site) -> None:
    other = named(base("replay-job"), site.namespace)
    other["metadata"]["name"] = "fresh"
    site.create("tenant", other)
    with pytest.raises(CommandFailed, match="is of a job that shows no plan yet"):
        site.patch("approver", {"approval": {"plan": PLAN, "by": "approver"}}, name="fresh")


def test_an_approval_does_not_come_with_a_manifest(site: Site) -> None:
    """Neither from Git nor from a backup, unless whoever applies it may approve, and says so."""
    job = named(base("replay-job"), site.namespace, approval={"plan": PLAN, "by": "approver"})
    job["metadata"]["name"] = "approved-in-git"
    with pytest.raises(CommandFailed, match="tenant may not approve"):
        site.create("tenant", job)
    site.create("approver", job)


def test_what_leaves_the_approval_alone_is_nobodys_business(site: Site) -> None:
    site.patch("tenant", {"shards": 2})
    site.approve("approver")
    site.patch("tenant", {"mode": "Run", "pace": {"speed": 60}})
    site.patch(
        "tenant", {"approval": {"plan": PLAN, "by": "approver"}, "shards": 4}
    )  # as `kubectl apply` sends it
    assert site.spec()["approval"] == {"plan": PLAN, "by": "approver"}
    show_plan(site.cluster, site.namespace, "cd" * 32)  # status is written all the same


def test_part_of_an_approval_is_an_approval(site: Site) -> None:
    site.approve("approver")
    for change in ({"by": "tenant"}, {"plan": "cd" * 32}):
        with pytest.raises(CommandFailed, match="tenant may not approve"):
            site.patch("tenant", {"approval": change})


def test_whoever_may_change_a_job_may_take_an_approval_away(site: Site) -> None:
    site.approve("approver")
    site.patch("tenant", {"approval": None})
    assert "approval" not in site.spec()


def test_the_administrator_approves_in_his_own_name_only(site: Site) -> None:
    with pytest.raises(CommandFailed, match="must be who approves"):
        site.patch(None, {"approval": {"plan": PLAN, "by": "approver"}})


async def test_the_operator_finds_out_whether_approvals_are_governed(site: Site) -> None:
    """By a dry-run approval, which changes nothing; anew when the policy is gone, and when it is back."""
    clock = ManualClock(SystemClock().now())
    job = ObjectKey("ReplayJob", site.namespace, JOB)
    before = site.spec()
    with guard(site.people["operator"], clock) as approvals:
        assert await approvals.governed(job)
        uninstall(site.cluster, site.namespace)
        assert await approvals.governed(job)  # as it was a moment ago
        clock.advance(301)
        assert not await approvals.governed(job)
        install(site.cluster, site.namespace)
        clock.advance(6)
        assert await approvals.governed(job)
    assert site.spec() == before


async def test_nothing_but_the_policys_own_denial_says_that_approvals_are_governed(site: Site) -> None:
    """Neither a name that looks like it, nor a lack of rights, nor another policy."""
    telling = named(base("replay-job"), site.namespace)
    telling["metadata"]["name"] = "pik-replayjob-approval"
    site.create("tenant", telling)
    uninstall(site.cluster, site.namespace)
    key = ObjectKey("ReplayJob", site.namespace, "pik-replayjob-approval")
    nobody = site.cluster.kubeconfig_for("nobody")
    with guard(nobody, SystemClock()) as approvals, pytest.raises(KubeDenied, match="cannot patch"):
        await approvals.governed(key)
    with guard(site.people["operator"], SystemClock()) as approvals:
        assert not await approvals.governed(key)


async def test_a_job_that_is_gone_says_nothing(site: Site) -> None:
    with guard(site.people["operator"], SystemClock()) as approvals, pytest.raises(KubeUnavailable):
        await approvals.governed(ObjectKey("ReplayJob", site.namespace, "gone"))
