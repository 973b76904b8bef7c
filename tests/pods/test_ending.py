"""A cluster with a node ends with whoever wanted it, and the next one takes away what a kill left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import handle, slots
from cluster.handle import Cluster

_PATIENCE = 60.0
LOCALSTACK = Path(handle.__file__).parent.parent
OWNER = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from cluster import handle
started = handle.start(Path(sys.argv[2]), os.environ, pods=True)
print(started.keeper.pid, flush=True)
time.sleep(600)
"""


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def within(directory: Path) -> list[str]:
    """What runs with something of this directory, mounts of it, and links to the cluster."""
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,args="], capture_output=True, text=True, check=True)
    mounted = Path("/proc/mounts").read_text()
    found = [*listed.stdout.splitlines(), *mounted.splitlines()]
    return [line for line in found if str(directory) in line and OWNER.split()[0] not in line.split()]


@pytest.fixture(autouse=True)
def _ours(pod_cluster: Cluster) -> None:
    if pod_cluster.machine is None:
        pytest.skip("this cluster was given to us: how it ends is not our matter")


@pytest.fixture
def owner(pod_cluster: Cluster, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that wanted a cluster in `tmp_path`/c, and the pid of its keeper."""
    command = [sys.executable, "-c", OWNER, str(LOCALSTACK), str(tmp_path / "c")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def slot_of(directory: Path) -> slots.Slot:
    (note,) = [
        one for one in Path("/run/pik-clusters").glob("*.directory") if one.read_text() == str(directory)
    ]
    return slots.Slot(int(note.stem))


def cgroups(slot: slots.Slot) -> list[Path]:
    found = [each / slot.cgroup.lstrip("/") for each in slots.hierarchies()]
    return [path for path in found if path.exists()]


@pytest.mark.parametrize("killed", ["owner", "keeper"])
def test_nothing_outlives_a_kill(
    killed: str, owner: tuple[subprocess.Popen[str], int], pod_cluster: Cluster, tmp_path: Path
) -> None:
    process, keeper = owner
    told = json.loads((tmp_path / "c" / "cluster.json").read_text())
    slot = slot_of(tmp_path / "c")
    link = Path("/sys/class/net", slot.link)
    assert link.exists()
    assert cgroups(slot)
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "sleeps"},
        "spec": {
            "containers": [{"name": "sleeps", "image": "pik.dev/pause:local", "imagePullPolicy": "Never"}],
            "automountServiceAccountToken": False,
        },
    }
    config = Path(told["kubeconfig"])
    pod_cluster.kubectl("wait", "--for=create", "serviceaccount/default", as_=config)
    pod_cluster.kubectl("create", "-f", "-", as_=config, stdin=json.dumps(manifest))
    pod_cluster.kubectl("wait", "--for=condition=Ready", "pod/sleeps", "--timeout=60s", as_=config)

    os.kill(process.pid if killed == "owner" else keeper, signal.SIGKILL)
    until(lambda: not runs(told["machine"]), "the machine is gone")
    until(lambda: not within(tmp_path / "c"), "no process and no mount")
    until(lambda: not link.exists(), "the line is gone")
    if killed == "keeper":  # nobody was there to tidy up: the next one does
        with slots.take(tmp_path / "next"):
            pass
    until(lambda: not cgroups(slot) and not (tmp_path / "c" / "containerd").exists(), "nothing is left")
    assert not Path("/run/pik-clusters", f"{slot.number}.directory").exists()
