"""The chart's release and the project's image in real pods."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chart.rendering import CHART, Helm, helm_of
from cluster.handle import Cluster
from clusters_for_tests import PIK_IMAGE, Kubectl
from docs.pages import ROOT
from pik.aws.clients import AwsAccess, AwsClients
from pik.cluster.metrics.names import METRICS, Process
from pods.test_node import Manifest, pod_spec

_PATIENCE = 180.0
STREAM: Manifest = {
    "apiVersion": "pik.dev/v1alpha1",
    "kind": "CaptureStream",
    "metadata": {"name": "orders"},
    "spec": {"storage": {"prefix": "orders"}},
}
EVENT = {
    "source": "shop",
    "event_type": "OrderPaid",
    "entity_id": "order-1",
    "event_time": "2013-07-10T04:00:00Z",
    "payload": {"amount": 12.5},
    "idempotency_key": "payment-77",
}


@pytest.fixture
def restricted(kubectl: Kubectl, kube_namespace: str) -> str:
    kubectl("label", "namespace", kube_namespace, "pod-security.kubernetes.io/enforce=restricted")
    return kube_namespace


@pytest.fixture
def helm(pod_cluster: Cluster, tmp_path: Path) -> Helm:
    return helm_of(tmp_path, pod_cluster.environment())


@pytest.fixture
def installed(helm: Helm, pod_cluster: Cluster, restricted: str) -> Iterator[str]:
    """The namespace that a release is in and looks after, and nothing else."""
    repository, tag = PIK_IMAGE.split(":")
    values = {
        "clusterName": restricted,
        "fullnameOverride": "pik",
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "watchNamespaces": [restricted],
        "crds": {"install": False},
        "aws": {"endpointURL": pod_cluster.aws, "region": "us-east-1"},
        "operator": {"replicas": 2},
    }
    helm("install", "pik", CHART, "--namespace", restricted, "--values", "-", stdin=json.dumps(values))
    yield restricted
    helm.run("uninstall", "pik", "--namespace", restricted)


def get(url: str) -> str:
    """Once it is answered with success."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return httpx.get(url, trust_env=False).raise_for_status().text
        except httpx.HTTPError:
            assert time.monotonic() < deadline, url
            time.sleep(0.2)


def test_all_that_pik_loads_is_in_the_image(kubectl: Kubectl, restricted: str) -> None:
    program = (ROOT / "tests" / "chart" / "image_check.py").read_text()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "check", "namespace": restricted},
        "spec": pod_spec(program),
    }
    kubectl("create", "-f", "-", stdin=json.dumps(pod))
    where = ("-n", restricted)
    kubectl(
        *("wait", "pod/check", "--for=jsonpath={.status.containerStatuses[0].state.terminated}"),
        *(*where, f"--timeout={_PATIENCE:.0f}s"),
        seconds=_PATIENCE + 10,
    )
    code = kubectl(
        "get", "pod/check", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}", *where
    )
    told = kubectl("logs", "check", *where)
    assert code == "0", told
    assert "not wanted: []" in told


def test_a_release_works_and_leaves_what_it_made(
    kubectl: Kubectl, helm: Helm, pod_cluster: Cluster, installed: str
) -> None:
    where = ("-n", installed)
    for name in ("pik-operator", "pik-gateway"):
        kubectl("rollout", "status", f"deployment/{name}", *where, f"--timeout={_PATIENCE:.0f}s", seconds=200)

    told = helm("test", "pik", "--namespace", installed, "--logs")
    assert "the operator is ready: 200" in told
    assert "events for a stream that is not there: 404" in told

    kubectl("create", "-f", "-", *where, stdin=json.dumps(STREAM))
    kubectl("wait", "cst/orders", "--for=condition=Ready", *where, f"--timeout={_PATIENCE:.0f}s", seconds=200)
    stream = json.loads(kubectl("get", "cst/orders", "-o", "json", *where))["status"]
    assert stream["ingestURL"] == f"http://pik-gateway.{installed}.svc/v1/streams/{installed}/orders/events"

    service = kubectl("get", "service/pik-gateway", "-o", "jsonpath={.spec.clusterIP}", *where)
    url = stream["ingestURL"].replace(f"pik-gateway.{installed}.svc", service)
    answer = httpx.post(url, json=EVENT, trust_env=False, timeout=30).raise_for_status().json()
    assert answer["answers"][0]["status"] == "ACCEPTED"

    exported: dict[Process, set[str]] = {Process.OPERATOR: set(), Process.GATEWAY: set()}
    pods = json.loads(kubectl("get", "pods", "-l", "app.kubernetes.io/instance=pik", "-o", "json", *where))
    for pod in pods["items"]:
        of = Process(pod["metadata"]["labels"]["app.kubernetes.io/component"])
        text = get(f"http://{pod['status']['podIP']}:8080/metrics")
        exported[of] |= set(re.findall(r"^# TYPE (pik_\w+)", text, re.MULTILINE))
    for process, names in exported.items():
        wanted = {metric.name for metric in METRICS if process in metric.by}
        assert names - {f"{name}_created" for name in names} == wanted, process

    helm("uninstall", "pik", "--namespace", installed)
    assert kubectl("get", "cst/orders", "-o", "name", *where)
    s3 = AwsClients(AwsAccess(pod_cluster.aws)).client("s3")
    kept = s3.list_objects_v2(Bucket=stream["storage"]["bucket"], Prefix="orders/raw/")["Contents"]
    assert kept, "raw data outlives the release"
