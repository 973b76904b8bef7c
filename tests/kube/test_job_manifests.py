"""The Job of an object, as it is written: every field that a promise hangs on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from controller.manifests import JOB, STREAM, VERSION, events
from kube.job_clusters import JobCluster
from pik.api.execution import Execution
from pik.cluster.api import Object
from pik.cluster.jobs.resources import amount, memory_of, resources_of
from pik.cluster.jobs.settings import JobSettings

RUN = JOB + "  mode: Run\n"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[JobCluster]:
    settings = JobSettings(
        image="registry.test/pik@sha256:1",
        pull_policy="Always",
        environment={"AWS_REGION": "eu-central-1"},
    )
    made = JobCluster(tmp_path, settings)
    things = made.apply(STREAM)
    await made.settle()
    await made.ingest(things, events(6))
    await made.settle()
    yield made
    await made.stop()


async def job(cluster: JobCluster, text: str, *lines: str) -> Object:
    cluster.apply(text + "".join(f"  {line}\n" for line in lines))
    await cluster.settle()
    return cluster.api.job()


async def test_a_runs_job(cluster: JobCluster) -> None:
    made = await job(cluster, RUN, "shards: 12", "parallelism: 3", "retriesPerShard: 4")
    key = next(key for key in cluster.objects.there if key.kind == "ReplayJob")
    run = cluster.status(key).run.id
    meta, spec = made["metadata"], made["spec"]
    assert meta["name"] == f"again-{run[:8]}-1"
    assert meta["labels"] == {
        "app.kubernetes.io/managed-by": "pik",
        "app.kubernetes.io/name": "pik",
        "app.kubernetes.io/component": "worker",
        "pik.dev/run": run[:16],
        "pik.dev/name": "again",
        "pik.dev/kind": "ReplayJob",
    }
    assert meta["ownerReferences"] == [
        {
            "apiVersion": "pik.dev/v1alpha1",
            "kind": "ReplayJob",
            "name": "again",
            "uid": cluster.objects.there[key].metadata.uid,
            "controller": True,
        }
    ]
    template = spec.pop("template")
    assert spec == {
        "completionMode": "Indexed",
        "completions": 12,
        "parallelism": 3,
        "backoffLimitPerIndex": 4,
        "maxFailedIndexes": 0,
        "podReplacementPolicy": "Failed",
        "suspend": False,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "worker", "operator": "In", "values": [2, 11]},
                },
                {
                    "action": "FailIndex",
                    "onExitCodes": {"containerName": "worker", "operator": "In", "values": [10]},
                },
                {
                    "action": "Ignore",
                    "onExitCodes": {"containerName": "worker", "operator": "In", "values": [12]},
                },
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
    }
    assert template["metadata"]["labels"] == meta["labels"]
    pod = template["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never"
    assert pod["serviceAccountName"] == "default"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (container["image"], container["args"]) == ("registry.test/pik@sha256:1", ["worker"])
    assert container["imagePullPolicy"] == "Always"
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment.keys() == {"PIK_TASK", "AWS_REGION", "TMPDIR", "HOME"}
    task = orjson.loads(environment["PIK_TASK"])
    assert (task["run_id"], task["plan_hash"]) == (run, cluster.status(key).plan.hash)
    assert task["stream"]["epoch"] == 1
    assert task["grace"] < pod["terminationGracePeriodSeconds"]
    assert container["resources"] == {
        "requests": {"cpu": "100m", "memory": "512Mi"},
        "limits": {"memory": "512Mi"},
    }
    assert container["volumeMounts"] == [{"name": "scratch", "mountPath": "/scratch"}]


async def test_what_a_spec_says_of_its_pods(cluster: JobCluster) -> None:
    execution = (
        "execution: {serviceAccountName: sender, priorityClassName: low, podLabels: {team: blue}, "
        "resources: {requests: {cpu: 2, ephemeral-storage: 1Gi}, limits: {memory: 4Gi}}}"
    )
    template = (await job(cluster, RUN, execution, "onError: {action: HoldEntity}"))["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "blue"
    assert template["metadata"]["labels"]["pik.dev/kind"] == "ReplayJob"
    pod = template["spec"]
    assert (pod["serviceAccountName"], pod["priorityClassName"]) == ("sender", "low")
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": 2, "memory": "512Mi", "ephemeral-storage": "1Gi"},
        "limits": {"memory": "4Gi"},
    }


async def test_an_aggregates_job(cluster: JobCluster) -> None:
    made = await job(cluster, VERSION, "execution: {memory: 2Gi}")
    spec = made["spec"]
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (1, 1, 3)
    assert "completionMode" not in spec
    actions = [
        (rule["action"], *rule.get("onExitCodes", {}).get("values", []))
        for rule in spec["podFailurePolicy"]["rules"]
    ]
    assert actions == [("FailJob", 2, 10, 11, 13), ("Ignore", 12), ("Ignore",), ("FailJob", 137)]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "2Gi"}
    assert container["resources"]["requests"]["memory"] == "2Gi"
    task = orjson.loads(next(each["value"] for each in container["env"] if each["name"] == "PIK_TASK"))
    assert task["memory"] == f"{2 * 1024**3}B"


@pytest.mark.parametrize(
    ("given", "exact", "requests", "limits"),
    [
        (None, None, {"cpu": "100m", "memory": "512Mi"}, {"memory": "512Mi"}),
        (None, "2Gi", {"cpu": "100m", "memory": "2Gi"}, {"memory": "2Gi"}),
        ({"limits": {"memory": "128Mi"}}, None, {"cpu": "100m", "memory": "128Mi"}, {"memory": "128Mi"}),
        ({"requests": {"memory": "1Gi"}}, None, {"cpu": "100m", "memory": "1Gi"}, {"memory": "1Gi"}),
        (
            {"limits": {"cpu": "50m"}},
            None,
            {"cpu": "50m", "memory": "512Mi"},
            {"cpu": "50m", "memory": "512Mi"},
        ),
        (
            {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}},  # the API server says what is wrong
            None,
            {"cpu": "100m", "memory": "2Gi"},
            {"memory": "1Gi"},
        ),
    ],
)
def test_what_an_installation_sets_gives_way(
    given: Object | None, exact: str | None, requests: Object, limits: Object
) -> None:
    execution = None if given is None else Execution.model_validate({"resources": given})
    found = resources_of(execution, cpu="100m", memory="512Mi", exact=exact)
    assert found == {"requests": requests, "limits": limits}


@pytest.mark.parametrize(
    ("quantity", "value"), [("100m", "0.1"), (2, "2"), ("1.5Gi", "1610612736"), ("3k", "3000"), ("7", "7")]
)
def test_quantities(quantity: str | int, value: str) -> None:
    assert str(amount(quantity).normalize()) == str(type(amount(1))(value).normalize())


@pytest.mark.parametrize(("limit", "memory"), [("512Mi", "536870912B"), ("1.5G", "1500000000B"), (7, "7B")])
def test_a_task_is_told_what_its_container_may_take(limit: str | int, memory: str) -> None:
    assert memory_of({"limits": {"memory": limit}}) == memory
