from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chart.rendering import Helm, Renderer, helm_of
from cluster import handle
from cluster.errors import ClusterImpossible
from cluster.handle import Cluster
from clusters_for_tests import impossible


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm without a cluster."""
    home: Path = tmp_path_factory.mktemp("helm")
    try:
        return helm_of(home, {**os.environ, "KUBECONFIG": str(home / "none")})
    except ClusterImpossible as error:
        impossible(error)


@pytest.fixture(scope="session")
def render(helm: Helm) -> Renderer:
    """`render("least", executor="InProcess")`: the manifests."""
    return Renderer(helm)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane of the module's own, without CRDs."""
    try:
        started = handle.start(tmp_path_factory.mktemp("own") / "cluster", os.environ)
    except ClusterImpossible as error:
        impossible(error)
    yield started.cluster
    started.stop()


@pytest.fixture
def release(cluster: Cluster, tmp_path: Path) -> Helm:
    """Helm with that cluster."""
    return helm_of(tmp_path / "helm", cluster.environment())
