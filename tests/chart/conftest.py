from __future__ import annotations

import os
from pathlib import Path

import pytest

from chart.rendering import Helm, Renderer, helm_of
from cluster.errors import ClusterImpossible
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
