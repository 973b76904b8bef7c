"""Releases of the chart on a cluster, and what is there because of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from chart.rendering import CHART
from cluster.handle import Cluster

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
