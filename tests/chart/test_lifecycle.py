"""A release comes, changes and goes; what people made stays. On its own control plane, since CRDs change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chart.releases import LEAST, NAMESPACE, RELEASE, changed_chart, knows, objects, workloads
from chart.rendering import CHART, Helm
from cluster.handle import Cluster
from clusters_for_tests import established
from gitops.states import SPECS
from pik.api.kinds import KINDS
from pik.api.manifests import load_text

pytestmark = pytest.mark.cluster


def test_objects_survive_whatever_becomes_of_the_release(
    cluster: Cluster, release: Helm, tmp_path: Path
) -> None:
    release("install", *RELEASE, CHART, *LEAST, "--create-namespace")
    established(cluster)
    for kind, spec in SPECS.items():
        (loaded,) = load_text(f"{{kind: {kind}, spec: {spec}}}")
        manifest = {**loaded.value, "apiVersion": "pik.dev/v1alpha1", "metadata": {"name": "kept"}}
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    before = objects(cluster)
    assert len(before) == len(KINDS)
    assert not knows(cluster, "note")

    release("upgrade", *RELEASE, changed_chart(tmp_path), *LEAST)
    assert knows(cluster, "note"), "an upgrade reaches the CRDs"
    assert objects(cluster) == before

    release("rollback", *RELEASE, "1")
    assert not knows(cluster, "note")
    assert objects(cluster) == before
    assert workloads(cluster) == {"deployment.apps/pik-operator", "deployment.apps/pik-gateway"}

    release("upgrade", *RELEASE, CHART, *LEAST, "--set", "crds.install=false")
    assert objects(cluster) == before, "leaving the CRDs to another release removes nothing"

    release("uninstall", *RELEASE)
    assert not workloads(cluster)
    assert objects(cluster) == before

    release("install", *RELEASE, CHART, *LEAST)
    assert objects(cluster) == before
    assert not knows(cluster, "note")
    release("upgrade", *RELEASE, changed_chart(tmp_path / "again"), *LEAST)
    assert knows(cluster, "note"), "the CRDs are the release's again"
    release("uninstall", *RELEASE)

    other = ("capture", "--namespace", NAMESPACE)
    refused = release.run("install", *other, CHART, *LEAST)
    assert refused.returncode
    assert "meta.helm.sh/release-name" in refused.stderr
    release("install", *other, CHART, *LEAST, "--take-ownership")
    assert objects(cluster) == before


def test_a_namespaced_release_needs_no_right_over_the_cluster(cluster: Cluster, release: Helm) -> None:
    """It is installed by somebody who is an administrator of three namespaces and nothing else."""
    spaces = ("tenant-pik", "tenant-shop", "tenant-billing")
    for space in spaces:
        cluster.kubectl("create", "namespace", space)
        cluster.kubectl(
            "create", "rolebinding", "owner", "--clusterrole=cluster-admin", "--user=tenant", "-n", space
        )
    tenant = Helm(
        release.program, {**release.environment, "KUBECONFIG": str(cluster.kubeconfig_for("tenant"))}
    )
    words = ("install", "mine", CHART, "--namespace", "tenant-pik", *LEAST)
    refused = tenant.run(*words)
    assert refused.returncode
    assert "forbidden" in refused.stderr
    tenant(
        *words,
        *("--set", "crds.install=false", "--set", "watchNamespaces={tenant-shop,tenant-billing}"),
    )
