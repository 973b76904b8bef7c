"""`make demo-k8s`, as somebody runs it: every promise of the story is checked by the story itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import images, machine
from cluster.errors import ClusterImpossible
from clusters_for_tests import impossible

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.pods
def test_the_story_holds_on_kubernetes(tmp_path: Path) -> None:
    given = "KUBECONFIG" in os.environ
    if not given:
        try:
            machine.check()
            images.check()
        except ClusterImpossible as error:
            impossible(error)
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "flights" / "demo_k8s.py", "--home", tmp_path / "demo"],
        capture_output=True,
        text=True,
        timeout=2_400,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    told = " ".join(done.stdout.split())
    assert "336,776 flights and 26,115 readings in raw, 0 lost" in told
    assert "132 flights landed after midnight (32.8 → 59.6 minutes" in told
    assert "developer may not approve replays in namespace flights" in told
    assert "sent 132 = received 132 = expected 132" in told
    assert "its record is found, and nothing is sent" in told
    assert "132 messages in the queue, each aircraft in order" in told
    assert "the index is rebuilt from raw alone, by itself: the same version" in told
    assert "adopted: the same stream ids" in told
    assert given or "a port-forward" not in told, "kube-proxy leads to the gateway"
    assert "Traceback" not in told + done.stderr
