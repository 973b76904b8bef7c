"""What tenants may, with the operator as a process, a real API server and an emulated AWS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import CommandFailed
from cluster.handle import Cluster
from kube.approval_policy import install, unbind, uninstall
from pik.aws.clients import AwsAccess, AwsClients
from pik.cluster.api import Object
from pik.controller.deletion import ABANDON
from running.process import OperatorProcess
from running.scene import Ground, Scene, scene, until
from running.specs import job_spec, stream_spec

ACCOUNT = "222222222222"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/orders"
_RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
def role_map(tmp_path: Path) -> Path:
    path = tmp_path / "roles.yaml"
    path.write_text("roles: []\n")
    return path


@pytest.fixture
async def world(ground: Ground, unique: str, tmp_path: Path, role_map: Path) -> AsyncIterator[Scene]:
    options = ("--executor", "InProcess", "--role-map", str(role_map))
    async with scene(ground, unique[:30], tmp_path, *options) as made:
        yield made


@pytest.fixture
async def operator(world: Scene) -> OperatorProcess:
    made = world.operator()
    await made.start()
    return made


async def until_reason(world: Scene, kind: str, name: str, condition: str, reason: str) -> str:
    """The message, once the condition has this reason."""
    there: Object = {}

    def found() -> Any:
        conditions = there.get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == condition and c["reason"] == reason), None)

    async def holds() -> bool:
        nonlocal there
        there = await world.get(kind, name)
        return found() is not None

    await until(f"{kind} {name} is {condition} because of {reason}", holds, lambda: str(there.get("status")))
    return str(found()["message"])


async def told(world: Scene, name: str, reason: str) -> list[str]:
    """Messages of the object's events of this reason."""
    return [each["message"] for each in await world.told(name) if each["reason"] == reason]


def approver(cluster: Cluster, namespace: str) -> Path:
    """The kubeconfig of somebody who may approve in this namespace."""
    rules = [
        {"apiGroups": ["pik.dev"], "resources": ["replayjobs"], "verbs": ["get", "patch"]},
        {"apiGroups": ["pik.dev"], "resources": ["replayjobs/approval"], "verbs": ["update"]},
    ]
    meta = {"name": "approver", "namespace": namespace}
    items = [
        {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": "approver"},
            "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": "jane@example.com"}],
        },
    ]
    cluster.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    )
    return cluster.kubeconfig_for("jane@example.com")


@pytest.mark.usefixtures("operator")
async def test_an_approval_counts_from_when_somebody_decides_who_may_give_it(
    world: Scene, ground: Ground
) -> None:
    """What anybody could have written sends nothing; with the policy, an approver's word does."""
    await asyncio.to_thread(uninstall, ground.cluster, world.namespace)
    spec = stream_spec("things")
    await world.create("CaptureStream", "things", {**spec, "replayPolicy": {"approval": "Required"}})
    await world.ingest("things", 12)
    queue = world.queue("target")
    job = {**job_spec("things", queue), "approval": {"plan": "0" * 64, "by": "mallory"}}
    await world.create("ReplayJob", "again", job)
    said = await until_reason(world, "ReplayJob", "again", "Stalled", "ApprovalPolicyMissing")
    assert "pik-replayjob-approval is not installed" in said
    plan = (await world.get("ReplayJob", "again"))["status"]["plan"]["hash"]
    mallory = {"spec": {"approval": {"plan": plan, "by": "mallory"}}}
    await world.merge("ReplayJob", "again", mallory)
    await asyncio.to_thread(install, ground.cluster, world.namespace)
    await world.merge("ReplayJob", "again", {"spec": {"approval": None}})
    await until_reason(world, "ReplayJob", "again", "Complete", "AwaitingApproval")
    assert world.received(queue) == []
    jane = await asyncio.to_thread(approver, ground.cluster, world.namespace)
    words = ("patch", "rj", "again", "-n", world.namespace, "--type=merge", "-p")
    with pytest.raises(CommandFailed, match="must be who approves"):
        await asyncio.to_thread(ground.cluster.kubectl, *words, json.dumps(mallory), as_=jane)
    hers = {"spec": {"approval": {"plan": plan, "by": "jane@example.com"}}}
    await asyncio.to_thread(ground.cluster.kubectl, *words, json.dumps(hers), as_=jane)
    await world.until_true("ReplayJob", "again", "Complete")
    assert len(world.received(queue)) == 12
    assert await told(world, "again", "Approved") == [f"jane@example.com approved plan {plan[:12]}…"]
    await asyncio.to_thread(unbind, ground.cluster, world.namespace)


async def test_a_stream_has_the_role_that_the_administrator_allows_it(
    world: Scene, operator: OperatorProcess, role_map: Path
) -> None:
    await world.create("CaptureStream", "things", {**stream_spec("things"), "roleARN": ROLE})
    said = await until_reason(world, "CaptureStream", "things", "Stalled", "RoleNotAllowed")
    assert f"the administrator's map of roles does not have {ROLE} at all" in said
    grant = f"roles: [{{roleARN: '{ROLE}', namespaces: [{world.namespace}], externalID: pik-1}}]\n"
    await asyncio.to_thread(role_map.write_text, grant)
    await world.merge("CaptureStream", "things", {"metadata": {"annotations": {"looked": "at"}}})
    there = await world.until_true("CaptureStream", "things", "Ready")
    bucket = there["status"]["storage"]["bucket"]
    s3 = AwsClients(AwsAccess(world.endpoint, emulated_account=ACCOUNT)).client("s3")
    assert bucket in {each["Name"] for each in s3.list_buckets()["Buckets"]}
    assert bucket not in {each["Name"] for each in world.clients.client("s3").list_buckets()["Buckets"]}
    assert not operator.has_ended()


async def test_a_deletion_without_aws_says_why_it_waits_and_lets_go_when_it_is_told(
    world: Scene, operator: OperatorProcess
) -> None:
    await world.create("CaptureStream", "things", stream_spec("things", "Delete"))
    there = await world.until_true("CaptureStream", "things", "Ready")
    bucket, table = there["status"]["storage"]["bucket"], there["status"]["index"]["table"]
    await operator.stop()
    cut_off = world.operator("cut-off")
    cut_off.endpoint = "http://127.0.0.1:9"
    await cut_off.start()
    await world.remove("CaptureStream", "things")
    said = await until_reason(world, "CaptureStream", "things", "Ready", "AWSUnavailable")
    assert "what AWS has of it is not deleted yet" in said
    assert f'the annotation {ABANDON}: "true" leaves it at once' in said
    await world.merge("CaptureStream", "things", {"metadata": {"annotations": {ABANDON: "true"}}})
    await world.until_gone("CaptureStream", "things")
    (left,) = await told(world, "things", "StorageAbandoned")
    assert left.startswith(f"bucket {bucket} and table {table} may be left")
    assert bucket in {each["Name"] for each in world.clients.client("s3").list_buckets()["Buckets"]}
    world.clients.client("dynamodb").describe_table(TableName=table)  # fails if it is not there


async def test_a_deletion_without_aws_does_not_take_for_ever(world: Scene, operator: OperatorProcess) -> None:
    await world.create("CaptureStream", "things", stream_spec("things", "Delete"))
    there = await world.until_true("CaptureStream", "things", "Ready")
    await operator.stop()
    world.options = (*world.options, "--deletion-timeout", "3")
    cut_off = world.operator("cut-off")
    cut_off.endpoint = "http://127.0.0.1:9"
    await cut_off.start()
    await world.remove("CaptureStream", "things")
    await world.until_gone("CaptureStream", "things")
    (left,) = await told(world, "things", "StorageAbandoned")
    assert there["status"]["storage"]["bucket"] in left
    assert "it could not be deleted" in left
