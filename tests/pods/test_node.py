"""The node of the tests itself: what the end-to-end suite leans on holds on it as on any cluster."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from cluster.errors import CommandFailed
from cluster.handle import Cluster
from clusters_for_tests import PIK_IMAGE, Kubectl
from pik.aws.clients import AwsAccess, AwsClients

_PATIENCE = 120.0

Manifest = dict[str, Any]


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def pod_spec(program: str, *, limits: dict[str, str] | None = None, **more: object) -> Manifest:
    """A pod that runs a Python program by pik's image, under the restricted Pod Security Standard."""
    container = {
        "name": "main",
        "image": PIK_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", program],
        "resources": {"limits": limits or {}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **more,
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }


def server_spec() -> Manifest:
    """A pod that lists a folder, by HTTP on port 8080; ready when it does."""
    program = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8080)"
    probe = {"httpGet": {"port": 8080}, "periodSeconds": 1}
    return pod_spec(program, workingDir="/opt/pik/bin", readinessProbe=probe)


@pytest.fixture(autouse=True)
def _ours(pod_cluster: Cluster) -> None:
    if pod_cluster.machine is None:
        pytest.skip("this cluster was given to us: its nodes are not our matter")


@pytest.fixture
def restricted(kubectl: Kubectl, kube_namespace: str) -> str:
    """A namespace that enforces the standard."""
    kubectl("label", "namespace", kube_namespace, "pod-security.kubernetes.io/enforce=restricted")
    return kube_namespace


@pytest.fixture
def create(kubectl: Kubectl, restricted: str) -> Callable[..., None]:
    def made(api: str, kind: str, name: str, spec: Manifest, **labels: str) -> None:
        metadata = {"name": name, "namespace": restricted, "labels": labels}
        manifest = {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}
        kubectl("create", "-f", "-", stdin=json.dumps(manifest))

    return made


def wait(kubectl: Kubectl, namespace: str, what: str, condition: str) -> None:
    kubectl("wait", f"--for={condition}", what, "-n", namespace, f"--timeout={_PATIENCE:.0f}s", seconds=150)


def test_a_job_retries_the_index_that_failed(
    kubectl: Kubectl, restricted: str, create: Callable[..., None]
) -> None:
    program = "import os, sys; sys.exit(os.environ['JOB_COMPLETION_INDEX'] == '1')"
    create(
        "batch/v1",
        "Job",
        "shards",
        {
            "completionMode": "Indexed",
            "completions": 3,
            "parallelism": 3,
            "backoffLimitPerIndex": 1,
            "maxFailedIndexes": 3,
            "template": {"spec": pod_spec(program)},
        },
    )
    wait(kubectl, restricted, "job/shards", "condition=Failed")
    status = json.loads(kubectl("get", "job", "shards", "-n", restricted, "-o", "json"))["status"]
    assert (status["completedIndexes"], status["failedIndexes"]) == ("0,2", "1")
    assert status["failed"] == 2, "tried twice"


def test_services_are_reached_by_their_address_and_their_name(
    kubectl: Kubectl, restricted: str, create: Callable[..., None]
) -> None:
    create("v1", "Pod", "server", server_spec(), app="server")
    ports = [{"port": 80, "targetPort": 8080}]
    create("v1", "Service", "server", {"selector": {"app": "server"}, "ports": ports})
    wait(kubectl, restricted, "pod/server", "condition=Ready")
    address = kubectl("get", "service", "server", "-n", restricted, "-o", "jsonpath={.spec.clusterIP}")

    def reached() -> bool:
        """From this machine: kube-proxy hears of the pod a little after it is ready."""
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            return b"python" in opener.open(f"http://{address}/", timeout=5).read()
        except OSError:
            return False

    until(reached, "the Service routes")
    for number, host in enumerate([address, "server", f"server.{restricted}.svc.cluster.local"]):
        client = f"import urllib.request as u; print(u.urlopen('http://{host}/', timeout=10).status)"
        create("v1", "Pod", f"client-{number}", pod_spec(client))
        wait(kubectl, restricted, f"pod/client-{number}", "jsonpath={.status.phase}=Succeeded")
        assert kubectl("logs", f"client-{number}", "-n", restricted) == "200\n"
    # to itself too, by the Service: hairpin
    itself = f"import urllib.request as u; print(u.urlopen('http://{address}/', timeout=10).status)"
    assert kubectl("exec", "server", "-n", restricted, "--", "python3", "-c", itself) == "200\n"


def test_a_pod_uses_the_api_server_as_its_service_account(
    kubectl: Kubectl, restricted: str, create: Callable[..., None]
) -> None:
    program = f"""
import asyncio
from pik.aws.system import ThreadOffload
from pik.cluster.api import KubeApi, configuration
async def main():
    api = KubeApi(configuration(), ThreadOffload(1), ThreadOffload(1), 1)
    print(len((await api.get("/api/v1/namespaces/{restricted}/pods"))["items"]))
asyncio.run(main())
"""
    account = f"--serviceaccount={restricted}:default"
    kubectl("create", "rolebinding", "look", "--clusterrole=view", account, "-n", restricted)
    spec = pod_spec(program) | {"automountServiceAccountToken": True}
    create("v1", "Pod", "asks", spec)
    wait(kubectl, restricted, "pod/asks", "jsonpath={.status.phase}=Succeeded")
    assert kubectl("logs", "asks", "-n", restricted) == "1\n"


def test_pods_and_tests_share_the_aws_emulator(
    kubectl: Kubectl, restricted: str, create: Callable[..., None], pod_cluster: Cluster, unique: str
) -> None:
    program = f"""
from pik.aws.clients import AwsAccess, AwsClients
AwsClients(AwsAccess("{pod_cluster.aws}")).client("s3").create_bucket(Bucket="{unique}")
"""
    create("v1", "Pod", "makes", pod_spec(program))
    wait(kubectl, restricted, "pod/makes", "jsonpath={.status.phase}=Succeeded")
    listed = AwsClients(AwsAccess(pod_cluster.aws)).client("s3").list_buckets()["Buckets"]
    assert unique in [bucket["Name"] for bucket in listed]


def test_memory_is_bounded(kubectl: Kubectl, restricted: str, create: Callable[..., None]) -> None:
    program = "data = [bytes(1 << 20) + b'x' for _ in range(1000)]; data = [bytearray(one) for one in data]"
    create("v1", "Pod", "eats", pod_spec(program, limits={"memory": "64Mi"}))
    wait(kubectl, restricted, "pod/eats", "jsonpath={.status.phase}=Failed")
    path = "jsonpath={.status.containerStatuses[0].state.terminated.reason}"
    assert kubectl("get", "pod", "eats", "-n", restricted, "-o", path) == "OOMKilled"


def test_the_root_file_system_is_read_only_and_the_network_ends_here(
    kubectl: Kubectl, restricted: str, create: Callable[..., None]
) -> None:
    program = """
import socket
try:
    open("/opt/x", "w")
except OSError as error:
    print(error.strerror)
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except OSError as error:
    print(error.strerror)
"""
    create("v1", "Pod", "tries", pod_spec(program))
    wait(kubectl, restricted, "pod/tries", "jsonpath={.status.phase}=Succeeded")
    told = kubectl("logs", "tries", "-n", restricted).splitlines()
    assert told[0] == "Read-only file system"
    assert told[1] in {"Network is unreachable", "No route to host"}


def test_a_port_is_forwarded(
    kubectl: Kubectl, restricted: str, create: Callable[..., None], pod_cluster: Cluster
) -> None:
    create("v1", "Pod", "server", server_spec())
    wait(kubectl, restricted, "pod/server", "condition=Ready")
    words = [pod_cluster.kubectl_program, "port-forward", "pod/server", ":8080", "-n", restricted]
    with subprocess.Popen(
        words, env=pod_cluster.environment(), stdout=subprocess.PIPE, text=True
    ) as forwarding:
        assert forwarding.stdout is not None
        port = forwarding.stdout.readline().split(" -> ")[0].rpartition(":")[2]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert b"python" in opener.open(f"http://127.0.0.1:{port}/", timeout=30).read()
        forwarding.terminate()


def test_who_may_not_is_denied(kubectl: Kubectl, pod_cluster: Cluster, kube_namespace: str) -> None:
    jane = pod_cluster.kubeconfig_for("jane")
    with pytest.raises(CommandFailed, match="forbidden"):
        kubectl("get", "pods", "-n", kube_namespace, as_=jane)
