"""Kubernetes for tests: a real API server, started once for the session, or the one of `KUBECONFIG`.

Where it cannot run, the tests that need it are skipped with the reason and what to do about it; in CI
(`CI=true`) that is an error. A test may use any number of namespaces; nothing but the CRDs is shared.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn, Protocol
from uuid import uuid4

import pytest

from cluster import handle, kubeconfig, programs
from cluster.errors import ClusterImpossible, NotOurs
from cluster.handle import Cluster
from cluster.images import PIK_IMAGE as _OUR_IMAGE
from cluster.images import Images
from cluster.slots import RANGE
from pik.aws.system import ThreadOffload
from pik.cluster.api import KubeApi, configuration

PROJECT = Path(__file__).parent.parent
CRDS = PROJECT / "crds"
PIK_IMAGE = os.environ.get("PIK_IMAGE", _OUR_IMAGE)
_THREADS = 8
_WATCHES = 4


class Kubectl(Protocol):
    """`kubectl("get", "pods", "-n", namespace)`: what it prints. Raises `CommandFailed` with what it says."""

    def __call__(
        self, *words: str | Path, stdin: str | None = None, as_: Path | None = None, seconds: float = 120
    ) -> str: ...


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """What is not ours of a cluster that was given, its audit log for instance, skips the test."""
    try:
        return (yield)
    except NotOurs as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with pik's CRDs: `KUBECONFIG`'s if that is set, else one of our own, of etcd, the API server
    and the controller manager. It has no node: pods stay Pending (see `pod_cluster`).

    `Cluster` has `kubeconfig`, `kubectl`, `kubeconfig_for(user, groups)`, `kubeconfig_of(namespace, service
    account)`, and of our own cluster the audit log: `requests(since=audited())`.
    """
    directory = tmp_path_factory.mktemp("cluster")
    given = os.environ.get("KUBECONFIG")
    if given:
        check_given(kubeconfig.host(Path(given)))
        cluster = handle.given(Path(given), directory, os.environ)
        with_crds(cluster)
        yield cluster
        return
    try:
        started = handle.start(directory / "own", os.environ)
    except ClusterImpossible as error:
        impossible(error)
    try:
        with_crds(started.cluster)
        yield started.cluster
    finally:
        started.stop()


@pytest.fixture(scope="session")
def pod_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of our own with a node, pik's CRDs and pik's image (`PIK_IMAGE`, built from the project's
    Dockerfile), beside an AWS emulator that pods reach at `aws`, and so do tests.

    In tests/pods the other fixtures are of this cluster: `control_plane`, `kubectl`, `kube_namespace`,
    `kube_api`. Tests reach pods and Services by their addresses.

    With `KUBECONFIG`, that cluster's nodes have the image `PIK_IMAGE`, and reach `AWS_ENDPOINT_URL`.
    """
    given = os.environ.get("KUBECONFIG")
    if given:
        check_given(kubeconfig.host(Path(given)))
        cluster = handle.given(Path(given), tmp_path_factory.mktemp("pods"), os.environ)
        aws = os.environ.get("AWS_ENDPOINT_URL")
        if not aws or "PIK_IMAGE" not in os.environ:
            impossible(
                ClusterImpossible("pods of KUBECONFIG's cluster need PIK_IMAGE and AWS_ENDPOINT_URL too")
            )
        with_crds(cluster)
        yield dataclasses.replace(cluster, aws=aws)
        return
    try:
        image = Images(programs.cache_directory(os.environ), os.environ).pik(PROJECT)
        started = handle.start(tmp_path_factory.mktemp("pods") / "own", os.environ, pods=True)
    except ClusterImpossible as error:
        impossible(error)
    try:
        started.cluster.load(image)
        with_crds(started.cluster)
        yield started.cluster
    finally:
        started.stop()


@pytest.fixture
def kubectl(control_plane: Cluster) -> Kubectl:
    """The real kubectl, as the administrator, or as whoever the kubeconfig `as_` names."""
    return control_plane.kubectl


@pytest.fixture
def kube_namespace(control_plane: Cluster) -> Iterator[str]:
    """A fresh namespace. It is deleted afterwards, and nobody waits for that."""
    name = f"t-{uuid4().hex[:12]}"
    # with its service account, which the controller manager would make a little later
    made = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}},
    ]
    control_plane.kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}),
    )  # fmt: skip
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def kube_api(control_plane: Cluster) -> Iterator[KubeApi]:
    """pik's own client, as the administrator."""
    threads, watching = ThreadOffload(_THREADS), ThreadOffload(_WATCHES)
    yield KubeApi(configuration(control_plane.kubeconfig), threads, watching, _THREADS)
    threads.close()
    watching.close()


def with_crds(cluster: Cluster) -> None:
    """Applies pik's CRDs and waits until they are served."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", CRDS)
    established(cluster)


def established(cluster: Cluster) -> None:
    """Waits until every CRD is served. `kubectl wait` fails over one whose conditions are still null."""
    deadline = time.monotonic() + 60
    while True:
        found = json.loads(cluster.kubectl("get", "crd", "-o", "json"))["items"]
        if all(_is_established(crd) for crd in found):
            return
        assert time.monotonic() < deadline, "a CRD is not served"
        time.sleep(0.1)


def _is_established(crd: dict[str, Any]) -> bool:
    conditions = crd["status"].get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def impossible(error: ClusterImpossible) -> NoReturn:
    """Skips the test, or in CI fails it."""
    if os.environ.get("CI") == "true":
        raise error
    pytest.skip(f"no Kubernetes here: {error}")


def check_given(host: str) -> None:
    """Tests create and delete things: never by chance in a cluster that somebody needs."""
    try:
        address = ip_address(host)
        is_ours = address.is_loopback or address in RANGE
    except ValueError:
        is_ours = host == "localhost"
    if not is_ours and os.environ.get("PIK_TEST_CLUSTER") != host:
        pytest.fail(
            f"KUBECONFIG names {host}, which is not this machine: the tests would write to it. Unset it "
            f"for a cluster of our own, or say PIK_TEST_CLUSTER={host}",
            pytrace=False,
        )
