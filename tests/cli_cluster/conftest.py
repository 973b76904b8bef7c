from __future__ import annotations

import pytest

from cli_cluster.people import Team
from cluster.handle import Cluster


@pytest.fixture
def team(control_plane: Cluster, kube_namespace: str) -> Team:
    """A namespace in which MANIFESTS are applied by GitOps."""
    made = Team(control_plane, kube_namespace)
    made.gitops()
    return made
