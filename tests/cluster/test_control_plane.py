"""The cluster of the tests itself: it ends with whoever wanted it, and leaves no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import handle, programs
from cluster.errors import CommandFailed
from cluster.handle import Cluster
from clusters_for_tests import Kubectl

_PATIENCE = 30.0
LOCALSTACK = Path(programs.__file__).parent.parent
OWNER = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from cluster import handle
started = handle.start(Path(sys.argv[2]), os.environ)
print(started.keeper.pid, flush=True)
time.sleep(600)
"""


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def of_directory(directory: Path) -> list[str]:
    """Commands that run with something in this directory."""
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    return [line for line in listed.splitlines() if str(directory) in line and "-c" not in line.split()]


@pytest.mark.usefixtures("control_plane")  # it can run here
@pytest.mark.parametrize("killed", ["owner", "keeper"])
def test_nothing_outlives_a_kill(killed: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(LOCALSTACK), str(tmp_path / "cluster")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            keeper = int(owner.stdout.readline())
            assert len(of_directory(tmp_path)) == 4, "the keeper and three programs"
            os.kill(owner.pid if killed == "owner" else keeper, signal.SIGKILL)
            until(lambda: not of_directory(tmp_path))
        finally:
            owner.kill()


def test_people_are_who_they_say(control_plane: Cluster, kubectl: Kubectl, kube_namespace: str) -> None:
    jane = control_plane.kubeconfig_for("jane", ["team-a", "oncall"])
    assert "jane" in kubectl("auth", "whoami", as_=jane)
    with pytest.raises(CommandFailed, match="forbidden"):
        kubectl("get", "secrets", "-n", kube_namespace, as_=jane)
    kubectl("create", "rolebinding", "look", "--clusterrole=view", "--group=oncall", "-n", kube_namespace)
    before = control_plane.audited()
    kubectl("get", "jobs", "-n", kube_namespace, as_=jane)
    asked = [one for one in control_plane.requests(before) if one.user == "jane" and one.resource]
    assert {(one.verb, one.group, one.resource, one.namespace, one.code) for one in asked} == {
        ("list", "batch", "jobs", kube_namespace, 200)
    }
    assert {"team-a", "oncall"} < set(asked[0].groups)


def test_people_of_a_given_cluster_are_signed_by_it(control_plane: Cluster, tmp_path: Path) -> None:
    given = handle.given(control_plane.kubeconfig, tmp_path, os.environ)
    told = given.kubectl("auth", "whoami", as_=given.kubeconfig_for("jane", ["team-a"]))
    assert "jane" in told
    assert "[team-a system:authenticated]" in told


def test_controllers_run(kubectl: Kubectl, kube_namespace: str) -> None:
    kubectl("create", "job", "one", "--image=none", "-n", kube_namespace)
    kubectl("wait", "--for=create", "pod", "-l", "job-name=one", "-n", kube_namespace, "--timeout=30s")
    kubectl("delete", "job", "one", "-n", kube_namespace)  # its pod goes with it
    kubectl("wait", "--for=delete", "pod", "-l", "job-name=one", "-n", kube_namespace, "--timeout=30s")


def test_admission_is_as_in_a_cluster(kubectl: Kubectl, kube_namespace: str) -> None:
    kubectl("label", "namespace", kube_namespace, "pod-security.kubernetes.io/enforce=restricted")
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        kubectl("run", "one", "--image=none", "-n", kube_namespace)
    kubectl("get", "validatingadmissionpolicies")
