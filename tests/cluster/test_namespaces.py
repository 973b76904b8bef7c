"""Labels of namespaces, as a real API server has them."""

from __future__ import annotations

import pytest

from cluster.handle import Cluster
from clusters_for_tests import Kubectl
from pik.aws.system import SystemClock, ThreadOffload
from pik.cluster.api import KubeApi, configuration
from pik.cluster.errors import KubeDenied
from pik.cluster.namespaces import ClusterNamespaces, namespaces
from pik.domain.errors import SelectorNotReadable
from pik.memory.system import ManualClock


async def test_labels_are_read_and_read_again(
    kube_api: KubeApi, kube_namespace: str, kubectl: Kubectl
) -> None:
    clock = ManualClock(SystemClock().now())
    found = namespaces(kube_api, (), clock)
    name = {"kubernetes.io/metadata.name": kube_namespace}
    assert await found.labels(kube_namespace) == name
    kubectl("label", "namespace", kube_namespace, "team=data")
    assert await found.labels(kube_namespace) == name  # as of a moment ago
    clock.advance(31)
    assert await found.labels(kube_namespace) == {**name, "team": "data"}


async def test_a_namespace_that_is_not_there_has_none(kube_api: KubeApi) -> None:
    assert await ClusterNamespaces(kube_api, SystemClock()).labels("nowhere") == {}


async def test_who_may_not_read_it_is_told_so(control_plane: Cluster, kube_namespace: str) -> None:
    threads = ThreadOffload(1)
    api = KubeApi(configuration(control_plane.kubeconfig_for("nobody")), threads, threads, 1)
    with pytest.raises(KubeDenied, match='cannot get resource "namespaces"'):
        await ClusterNamespaces(api, SystemClock()).labels(kube_namespace)
    threads.close()


async def test_an_installation_of_single_namespaces_asks_nobody(
    kube_api: KubeApi, kube_namespace: str
) -> None:
    with pytest.raises(SelectorNotReadable, match="installed for single namespaces"):
        await namespaces(kube_api, [kube_namespace], SystemClock()).labels(kube_namespace)
