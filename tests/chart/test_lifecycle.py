"""A release comes, changes and goes; what people made stays. On its own control plane, since CRDs change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from chart.rendering import CHART, Helm
from cluster.handle import Cluster
from gitops.states import SPECS
from pik.api.kinds import KINDS
from pik.api.manifests import load_text

pytestmark = pytest.mark.cluster

NAMESPACE = "pik-system"
RELEASE = ("pik", "--namespace", NAMESPACE)
LEAST = ("--set", "clusterName=test")


def objects(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """Every object of pik: its uid and its spec."""
    found = json.loads(cluster.kubectl("get", "pik", "--all-namespaces", "-o", "json"))["items"]
    return {
        f"{one['kind']}/{one['metadata']['name']}": (one["metadata"]["uid"], json.dumps(one["spec"]))
        for one in found
    }


def workloads(cluster: Cluster) -> set[str]:
    return set(cluster.kubectl("get", "deployments", "-n", NAMESPACE, "-o", "name").split())


def knows(cluster: Cluster, field: str) -> bool:
    """Whether the CRD of CaptureStreams has this field of the spec."""
    crd = json.loads(cluster.kubectl("get", "crd", "capturestreams.pik.dev", "-o", "json"))
    (version,) = crd["spec"]["versions"]
    return field in version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def changed_chart(into: Path) -> Path:
    """The next version: a CaptureStream has one more field."""
    chart = Path(shutil.copytree(CHART, into / "pik"))
    crd = chart / "templates" / "crds" / "capturestreams.yaml"
    text = crd.read_text()
    field = "                note: {description: A note of the owner., type: string, maxLength: 100}\n"
    mark = "                storage:\n"
    assert text.count(mark) >= 1
    crd.write_text(text.replace(mark, field + mark, 1))
    about = chart / "Chart.yaml"
    about.write_text(about.read_text().replace("version: 0.1.0", "version: 0.2.0", 1))
    return chart


def test_objects_survive_whatever_becomes_of_the_release(
    cluster: Cluster, release: Helm, tmp_path: Path
) -> None:
    release("install", *RELEASE, CHART, *LEAST, "--create-namespace")
    cluster.kubectl(
        "wait", "--for=condition=Established", "crd", *(f"{k.PLURAL}.pik.dev" for k in KINDS.values())
    )
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
