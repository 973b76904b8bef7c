"""The operator as a process, on a real API server: what people see of it, and what it leaves alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import yaml

from pik.cluster.api import Object
from pik.cluster.objects import FINALIZER
from running.process import OperatorProcess
from running.scene import Ground, Scene, scene, until
from running.specs import is_settled, stream_spec

Kubectl = Callable[..., str]
FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"
EXAMPLES = sorted(file for file in FLIGHTS.glob("**/*.yaml") if file.parent.name != "kubernetes")


@pytest.fixture
async def world(ground: Ground, unique: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(ground, unique[:30], tmp_path, "--executor", "InProcess") as made:
        yield made


@pytest.fixture
async def operator(world: Scene) -> OperatorProcess:
    made = world.operator()
    await made.start()
    return made


def buckets(world: Scene) -> set[str]:
    return {each["Name"] for each in world.clients.client("s3").list_buckets()["Buckets"]}


async def lease(world: Scene) -> Object:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{world.namespace}/leases/pik-operator"
    found: Object = (await world.api.get(path))["spec"]
    return found


@pytest.mark.usefixtures("operator")
async def test_what_git_applies_again_differs_in_nothing(world: Scene, kubectl: Kubectl) -> None:
    """Of each example, and of a stream with a finalizer: no default and no status is fought over."""
    git = ("--server-side", "--field-manager=gitops", "--namespace", world.namespace)
    manifests = [*map(str, EXAMPLES), str(written(world, "gone", stream_spec("gone", "Delete")))]
    assert len(manifests) >= 7
    files = [part for manifest in manifests for part in ("-f", manifest)]
    await asyncio.to_thread(kubectl, "apply", *git, *files)

    async def settled() -> bool:
        items = json.loads(await listed(world, kubectl))["items"]
        return len(items) == len(manifests) and all(map(is_settled, items))

    await until("all have settled", settled)
    before = await listed(world, kubectl)
    assert (
        await asyncio.to_thread(kubectl, "diff", *git, *files) == ""
    )  # it fails where there is a difference
    await asyncio.to_thread(kubectl, "apply", *git, *files)
    after = await listed(world, kubectl)
    assert versions(before) == versions(after)


def written(world: Scene, name: str, spec: Object) -> Path:
    """A manifest of a stream, in a file."""
    path = world.scratch / f"{name}.yaml"
    head = {"apiVersion": "pik.dev/v1alpha1", "kind": "CaptureStream", "metadata": {"name": name}}
    path.write_text(yaml.safe_dump({**head, "spec": spec}))
    return path


async def listed(world: Scene, kubectl: Kubectl) -> str:
    """All objects of the namespace, as JSON."""
    return await asyncio.to_thread(kubectl, "get", "pik", "-o", "json", "-n", world.namespace)


def versions(listed: str) -> dict[str, str]:
    items = json.loads(listed)["items"]
    return {f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["generation"] for each in items}


@pytest.mark.usefixtures("operator")
async def test_people_see_a_stream_become_ready(world: Scene, kubectl: Kubectl) -> None:
    await world.create("CaptureStream", "things", stream_spec("things"))
    told = await asyncio.to_thread(
        kubectl, "wait", "--for=condition=Ready", "cst/things", "-n", world.namespace, "--timeout=120s"
    )
    assert "condition met" in told
    shown = await asyncio.to_thread(kubectl, "get", "pik", "-n", world.namespace)
    heading, row = shown.splitlines()
    assert heading.split()[:4] == ["NAME", "READY", "REASON", "BUCKET"]
    assert row.split()[1:3] == ["True", "Provisioned"]
    reasons = [each["reason"] for each in await world.told("things")]
    assert sorted(reasons) == ["Provisioned", "Provisioning"]


async def test_what_stalls_heals_when_its_cause_goes(world: Scene, operator: OperatorProcess) -> None:
    spec = stream_spec("things")
    bucket = f"{world.namespace}-there"
    spec["storage"]["bucket"] = {"name": bucket, "origin": "Adopt"}
    await world.create("CaptureStream", "things", spec)
    there = await world.until_true("CaptureStream", "things", "Stalled")
    assert any(each["reason"] == "BucketNotFound" for each in there["status"]["conditions"])
    s3 = world.clients.client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    await operator.kill()  # else it looks again in a minute
    await operator.start()
    await world.until_true("CaptureStream", "things", "Ready")


@pytest.mark.usefixtures("operator")
async def test_only_a_stream_whose_deletion_removes_something_is_held(world: Scene) -> None:
    for name, policy in (("kept", "Retain"), ("removed", "Delete")):
        await world.create("CaptureStream", name, stream_spec(name, policy))
    kept = await world.until_true("CaptureStream", "kept", "Ready")
    removed = await world.until_true("CaptureStream", "removed", "Ready")
    assert "finalizers" not in kept["metadata"]
    assert removed["metadata"]["finalizers"] == [FINALIZER]
    for name in ("kept", "removed"):
        await world.remove("CaptureStream", name)
        await world.until_gone("CaptureStream", name)
    there = buckets(world)
    assert kept["status"]["storage"]["bucket"] in there
    assert removed["status"]["storage"]["bucket"] not in there


async def test_a_stream_that_keeps_its_storage_can_go_while_the_operator_is_away(
    world: Scene, operator: OperatorProcess
) -> None:
    await world.create("CaptureStream", "kept", stream_spec("kept"))
    await world.create("CaptureStream", "changed", stream_spec("changed", "Delete"))
    kept = await world.until_true("CaptureStream", "kept", "Ready")
    changed = await world.until_true("CaptureStream", "changed", "Ready")
    await world.merge("CaptureStream", "changed", {"spec": {"storage": {"deletionPolicy": "Retain"}}})

    async def free() -> bool:
        return "finalizers" not in (await world.get("CaptureStream", "changed"))["metadata"]

    await until("it is held no more", free)
    await operator.kill()
    for name in ("kept", "changed"):
        await world.remove("CaptureStream", name)
        await world.until_gone("CaptureStream", name)
    assert {each["status"]["storage"]["bucket"] for each in (kept, changed)} <= buckets(world)


async def test_of_two_replicas_one_works_and_the_other_takes_over(world: Scene) -> None:
    first, second = world.operator("first"), world.operator("second")
    await first.start()
    for number in range(4):
        await world.create("CaptureStream", f"early-{number}", stream_spec(f"early-{number}"))
    for number in range(4):
        await world.until_true("CaptureStream", f"early-{number}", "Ready")
    await second.start()
    await first.kill()
    for number in range(4):
        await world.create("CaptureStream", f"late-{number}", stream_spec(f"late-{number}"))
    for number in range(4):
        await world.until_true("CaptureStream", f"late-{number}", "Ready")
    held = await lease(world)
    assert (held["holderIdentity"], held["leaseTransitions"]) == ("second", 1)
    for number in range(4):
        for name in (f"early-{number}", f"late-{number}"):
            told = [(each["reason"], each["count"]) for each in await world.told(name)]
            assert sorted(told) == [("Provisioned", 1), ("Provisioning", 1)], f"{name} was provisioned twice"


async def test_a_replica_that_is_told_to_stop_gives_its_lease_back(
    world: Scene, operator: OperatorProcess
) -> None:
    await world.create("CaptureStream", "things", stream_spec("things"))
    await world.until_true("CaptureStream", "things", "Ready")
    assert await operator.stop() == 0
    assert (await lease(world))["holderIdentity"] == ""


@pytest.mark.usefixtures("operator")
async def test_other_namespaces_are_left_alone(world: Scene) -> None:
    other = f"{world.namespace}-other"
    await world.api.create("/api/v1/namespaces", {"metadata": {"name": other}})
    body = {
        "apiVersion": "pik.dev/v1alpha1",
        "kind": "CaptureStream",
        "metadata": {"name": "theirs", "namespace": other},
        "spec": stream_spec("theirs"),
    }
    path = f"/apis/pik.dev/v1alpha1/namespaces/{other}/capturestreams"
    await world.api.create(path, body)
    await world.create("CaptureStream", "ours", stream_spec("ours"))
    await world.until_true("CaptureStream", "ours", "Ready")
    assert "status" not in await world.api.get(f"{path}/theirs")
