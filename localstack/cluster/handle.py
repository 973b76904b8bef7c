"""A cluster as tests and demos hold it: kubectl, people of their own, the audit log."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from cluster import audit, certificates, kubeconfig, machine, node, programs, record
from cluster.certificates import Authority, Pair
from cluster.errors import ClusterFailed, CommandFailed, NotOurs
from cluster.machine import Machine
from cluster.processes import without_proxies

SCRIPT = Path(__file__).parent.parent / "cluster.py"
_START_SECONDS = 300.0  # of a busy machine; an idle one needs 5, with a node 10
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
_LOG = "keeper.log"


@dataclass(frozen=True)
class Cluster:
    """A cluster that is ready."""

    kubeconfig: Path  # of an administrator
    kubectl_program: Path
    scratch: Path  # a directory for further kubeconfigs and caches
    environ: Mapping[str, str] = field(repr=False)
    audit_log: Path | None = None  # None: of a cluster that was given to us
    pki: Path | None = None
    machine: Machine | None = None  # None: it has no node of ours
    node: str = ""  # the node's address
    network: str = ""  # range of all addresses: of the node, of pods, of Services
    aws: str = ""  # endpoint of the AWS emulator, for pods and for this machine

    def kubectl(
        self, *words: str | Path, stdin: str | None = None, as_: Path | None = None, seconds: float = 120
    ) -> str:
        """What kubectl prints. `as_`: another kubeconfig. Raises `CommandFailed` with what it says."""
        __tracebackhide__ = True
        return run([self.kubectl_program, *words], self.environment(as_), stdin, seconds)

    def environment(self, as_: Path | None = None) -> dict[str, str]:
        """For a program that finds the cluster by `KUBECONFIG`."""
        told = {"KUBECONFIG": str(as_ or self.kubeconfig), "KUBECACHEDIR": str(self.scratch / "kubectl")}
        return {**without_proxies(self.environ), **told}

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig of somebody, who has the rights that RBAC gives to this name and these groups."""
        pair = self._signed(user, groups) if self.pki is None else Authority(self.pki).client(user, groups)
        return self._written(json.loads(self._told()), kubeconfig.with_certificate(pair))

    def kubeconfig_of(self, namespace: str, service_account: str) -> Path:
        """A kubeconfig of a service account, by a token of its own that holds for an hour."""
        token = self.kubectl("create", "token", service_account, "--namespace", namespace).strip()
        return self._written(json.loads(self._told()), kubeconfig.with_token(token))

    def load(self, archive: Path) -> None:
        """Gives the node an image, of an OCI archive. Raises `ClusterFailed`, `NotOurs`."""
        if self.machine is None:
            raise NotOurs("this cluster has no node of ours")
        node.load(self.machine, archive)

    def requests(self, since: int = 0) -> Iterator[audit.Request]:
        """What the audit log says since that many bytes. Raises `NotOurs`."""
        return audit.read(self._log(), since)

    def audited(self) -> int:
        """Bytes of the audit log by now: for `requests`."""
        return self._log().stat().st_size

    def _log(self) -> Path:
        if self.audit_log is None:
            raise NotOurs("this cluster was given to us: we cannot read its audit log")
        return self.audit_log

    def _signed(self, user: str, groups: Sequence[str]) -> Pair:
        """A certificate by the cluster's own signer."""
        name = f"pik-test-{uuid4().hex}"
        pair = Pair(self.scratch / f"{name}.crt", self.scratch / f"{name}.key")
        asked = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": base64.b64encode(certificates.request(pair, user, groups)).decode(),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        }
        self.kubectl("create", "-f", "-", stdin=json.dumps(asked))
        self.kubectl("certificate", "approve", name)
        path = "jsonpath={.status.certificate}"
        self.kubectl("wait", "csr", name, f"--for={path}", "--timeout=30s")
        pair.certificate.write_bytes(base64.b64decode(self.kubectl("get", "csr", name, "-o", path)))
        return pair

    def _told(self) -> str:
        return self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")

    def _written(self, config: dict[str, object], whoever: Mapping[str, object]) -> Path:
        users = config["users"]
        name = users[0]["name"] if isinstance(users, list) else ""
        path = self.scratch / f"{uuid4().hex}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config | {"users": [{"name": name, "user": whoever}]}))
        return path


@dataclass(frozen=True)
class Started:
    """A cluster that was started by this process, and ends with it at the latest."""

    cluster: Cluster
    keeper: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Ends it and waits for that. Raises `ClusterFailed` where something went wrong over it."""
        _end(self.keeper)
        if self.keeper.returncode:
            raise ClusterFailed(f"the cluster's keeper exited with {self.keeper.returncode}")


def start(directory: Path, environ: Mapping[str, str], pods: bool = False) -> Started:
    """Starts a cluster in the empty `directory`, which ends with this process; `pods`: with a node for them.
    Raises `ClusterImpossible`, `ClusterFailed`."""
    keeper = _start(directory, environ, pods, subprocess.PIPE)
    return Started(attach(directory, environ), keeper)


def start_apart(directory: Path, environ: Mapping[str, str], pods: bool = False) -> Cluster:
    """The same, but it goes on until `end`."""
    _start(directory, environ, pods, subprocess.DEVNULL).returncode = 0  # from here on it is nobody's child
    return attach(directory, environ)


def attach(directory: Path, environ: Mapping[str, str]) -> Cluster:
    """The cluster that runs in this directory. Raises `ClusterFailed` where none does."""
    told = record.read(directory) if record.is_held(directory) else None
    if told is None:
        raise ClusterFailed("no cluster runs")
    return Cluster(
        kubeconfig=Path(told.kubeconfig),
        kubectl_program=programs.find(["kubectl"], environ)["kubectl"],
        scratch=directory / "scratch",
        environ=environ,
        audit_log=Path(told.audit),
        pki=Path(told.pki),
        machine=Machine(told.machine) if told.machine else None,
        node=told.node,
        network=told.network,
        aws=told.aws,
    )


def end(directory: Path) -> None:
    """Ends the cluster of this directory and waits for that; fine if none runs. Raises `ClusterFailed`."""
    told = record.read(directory)
    if told is not None and record.is_held(directory):
        os.kill(told.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while record.is_held(directory):
        if time.monotonic() > deadline:
            raise ClusterFailed(f"the cluster's keeper does not end: see {directory / _LOG}")
        time.sleep(_POLL_SECONDS)


def given(kubeconfig_: Path, scratch: Path, environ: Mapping[str, str]) -> Cluster:
    """A cluster that somebody else runs. Raises `ClusterImpossible` without kubectl."""
    return Cluster(kubeconfig_, programs.find(["kubectl"], environ)["kubectl"], scratch, environ)


def run(
    command: Sequence[str | Path], environ: Mapping[str, str], stdin: str | None = None, seconds: float = 120
) -> str:
    """What a command prints. Raises `CommandFailed` with what it says where it does not succeed."""
    __tracebackhide__ = True  # a failing test would print the environment
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            env=dict(environ),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(words)} took longer than {seconds:.0f} s") from error
    if done.returncode:
        raise CommandFailed(done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}")
    return done.stdout


def _start(directory: Path, environ: Mapping[str, str], pods: bool, stdin: int) -> subprocess.Popen[bytes]:
    """The keeper, once its cluster is ready. `stdin`: of the keeper; it ends with a pipe."""
    if pods:
        machine.check()
    programs.find([*programs.CONTROL_PLANE, *(programs.NODE if pods else [])], environ)  # may take long
    (directory / "scratch").mkdir(parents=True)
    pipe = ["--pipe"] if stdin == subprocess.PIPE else []
    with (directory / _LOG).open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, str(SCRIPT), "keep", *pipe, *(["--pods"] if pods else []), str(directory)],
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            start_new_session=True,  # Ctrl-C in the terminal is for us; it ends when we do
        )
    deadline = time.monotonic() + _START_SECONDS
    while record.read(directory) is None:
        if keeper.poll() is not None or time.monotonic() > deadline:
            _end(keeper)
            printed = (directory / _LOG).read_text(errors="replace")
            raise ClusterFailed(f"the cluster did not start:\n{printed[-4000:]}")
        time.sleep(_POLL_SECONDS)
    return keeper


def _end(keeper: subprocess.Popen[bytes]) -> None:
    if keeper.stdin is not None:
        keeper.stdin.close()
    else:
        keeper.terminate()
    try:
        keeper.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        keeper.kill()  # the kernel kills what it started
        keeper.wait()
