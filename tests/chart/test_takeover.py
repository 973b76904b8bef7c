"""CRDs that belong to no release, and become one's."""

from __future__ import annotations

from pathlib import Path

import pytest

from chart.releases import LEAST, RELEASE, changed_chart, knows
from chart.rendering import CHART, Helm
from cluster.handle import Cluster
from clusters_for_tests import CRDS

pytestmark = pytest.mark.cluster


def test_crds_that_were_applied_before_are_taken_over(
    cluster: Cluster, release: Helm, tmp_path: Path
) -> None:
    """As docs/upgrade.md says, also where they are of an older version."""
    cluster.kubectl("apply", "--server-side", "-f", CRDS)
    words = (*RELEASE, changed_chart(tmp_path), *LEAST, "--create-namespace")
    assert "invalid ownership metadata" in release.run("upgrade", "--install", *words).stderr
    release("upgrade", "--install", *words, "--take-ownership", "--force-conflicts")
    assert knows(cluster, "note")
    release("upgrade", *RELEASE, CHART, *LEAST)
    assert not knows(cluster, "note"), "from then on as if they had always been the release's"
