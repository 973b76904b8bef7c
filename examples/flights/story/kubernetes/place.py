"""The cluster that the story is played in: a throw-away one of our own, or the one of `KUBECONFIG`."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from story.terminal import StoryBroken, check

from cluster import handle, images, kubeconfig, programs, record, slots
from cluster.handle import Cluster

PROJECT = Path(__file__).resolve().parents[4]
_NAME = "flights-demo"
_LINK = "cluster"  # to the directory of a cluster of our own
_PLACE = "k8s"  # in that directory
_ALLOWED = "PIK_TEST_CLUSTER"
_PORT_FORWARD_SECONDS = 20.0


@dataclass
class Place:
    """A cluster with pik's image on its nodes, and an AWS emulator that pods reach."""

    cluster: Cluster
    image: str
    aws: str  # the same address for pods and for us
    own: bool
    name: str  # of the cluster, which the chart has to be told
    end: Callable[[], None] = field(repr=False)
    keeper: int = 0  # pid, of our own that was left alone

    @property
    def programs(self) -> list[Path]:
        """Folders with kubectl and helm."""
        helm = programs.find([programs.HELM], os.environ)[programs.HELM]
        return [Path(self.cluster.kubectl_program).parent, helm.parent]

    def kill(self, namespace: str, pod: str) -> str:
        """Ends a pod's process from one instant to the next; the command that a person would have typed.

        On our own node by SIGKILL, as the kernel does it where memory runs out; elsewhere the pod is deleted
        without a grace period, which gives it some moments to hear of it."""
        if self.cluster.machine is None:
            self.cluster.kubectl("-n", namespace, "delete", "pod", pod, "--grace-period=0", "--force")
            return f"kubectl -n {namespace} delete pod {pod} --grace-period=0 --force"
        told = self.cluster.kubectl(
            "-n", namespace, "get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].containerID}"
        )
        container = told.removeprefix("containerd://")
        self.cluster.machine.run("ctr", *_CTR, "task", "kill", "--signal", "SIGKILL", container)
        return f"ctr -n k8s.io task kill --signal SIGKILL {container[:12]}"


_CTR = ("--address", "/run/containerd.sock", "--namespace", "k8s.io")


def end_kept(home: Path) -> None:
    """Ends a cluster of our own that was left alone. Raises `ClusterError`."""
    link = home / _LINK
    if link.is_symlink():
        handle.end(link.resolve() / _PLACE)
        shutil.rmtree(link.resolve(), ignore_errors=True)


def start_own(home: Path, *, keep: bool) -> Place:
    """A new cluster with a node. `keep`: it outlives this process. Raises `ClusterError`."""
    # not in `home`: the kubelet's sockets have long names, and a socket's path may have 107 bytes
    directory = Path(tempfile.mkdtemp(prefix="pik-"))
    (home / _LINK).symlink_to(directory)
    if keep:
        cluster = handle.start_apart(directory / _PLACE, os.environ, pods=True)
        told = record.read(directory / _PLACE)
        pid = told.pid if told else 0
        return Place(cluster, images.PIK_IMAGE, cluster.aws, True, _NAME, lambda: end_kept(home), pid)
    started = handle.start(directory / _PLACE, os.environ, pods=True)

    def end() -> None:
        started.stop()
        shutil.rmtree(directory, ignore_errors=True)

    return Place(started.cluster, images.PIK_IMAGE, started.cluster.aws, True, _NAME, end)


def build_image() -> Path:
    """pik's image by its own Dockerfile, as an archive; from the cache where nothing has changed since."""
    return images.Images(programs.cache_directory(os.environ), os.environ).pik(PROJECT)


def take_given(environ: Mapping[str, str], scratch: Path) -> Place:
    """The cluster of `KUBECONFIG`. Raises `StoryBroken` where it is not plain that it may be written to, or
    where image or emulator are not named."""
    path = Path(environ["KUBECONFIG"])
    host = kubeconfig.host(path)
    if not _is_of_this_machine(host) and environ.get(_ALLOWED) != host:
        raise StoryBroken(
            f"KUBECONFIG names {host}, which is not this machine, and the story writes to it. Unset it for a "
            f"cluster of our own, or say {_ALLOWED}={host}"
        )
    missing = [name for name in ("PIK_IMAGE", "AWS_ENDPOINT_URL") if not environ.get(name)]
    check(
        not missing,
        f"for a cluster that is there, {' and '.join(missing)} must be set: an image that its nodes have, "
        "and an AWS emulator that its pods reach by the same address as this machine",
    )
    cluster = handle.given(path, scratch, os.environ)
    name = f"{_NAME}-{secrets.token_hex(3)}"  # the emulator may have the buckets of an earlier time
    return Place(cluster, environ["PIK_IMAGE"], environ["AWS_ENDPOINT_URL"], False, name, lambda: None)


def _is_of_this_machine(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address in slots.RANGE


class Forward:
    """`kubectl port-forward` to the gateway, where its Service's address cannot be reached from here."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, namespace: str, service: str) -> str:
        """The URL by which it is reached then. Raises `StoryBroken`."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        kubectl = shutil.which("kubectl", path=self._environ["PATH"])
        words = [str(kubectl), "-n", namespace, "port-forward", f"service/{service}", f"{port}:80"]
        self._process = subprocess.Popen(
            words, env=dict(self._environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + _PORT_FORWARD_SECONDS
        while not is_reached(url):
            check(time.monotonic() < deadline, "kubectl port-forward does not listen")
            time.sleep(0.1)
        return url

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()


def is_reached(url: str) -> bool:
    """Whether somebody listens there."""
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 80), timeout=2).close()
    except OSError:
        return False
    return True
