"""Here every fixture of `clusters_for_tests` is of the cluster with a node."""

from __future__ import annotations

import pytest

from cluster.handle import Cluster


@pytest.fixture(scope="session")
def control_plane(pod_cluster: Cluster) -> Cluster:
    """The cluster with a node."""
    return pod_cluster
