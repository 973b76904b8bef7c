"""The chart's approval policy on a shared API server: bound to the namespaces of a test only."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import yaml

from cluster.errors import CommandFailed
from cluster.handle import Cluster

TEMPLATE = Path(__file__).parents[2] / "charts/pik/templates/approval-policy.yaml"
_PATIENCE = 30.0  # seconds; the API server takes up a new policy within two
_PAUSE = 0.1

PROBE = {
    "apiVersion": "pik.dev/v1alpha1",
    "kind": "ReplayJob",
    "metadata": {"name": "approval-policy-probe"},
    "spec": {
        "streamRef": {"name": "nothing"},
        "select": {"window": {"from": "2013-07-10T00:00:00Z", "to": "2013-07-11T00:00:00Z"}},
        "target": {"type": "HTTP", "http": {"url": "http://127.0.0.1:9"}},
        "approval": {"plan": "0" * 64, "by": "nobody"},
    },
}


def documents() -> list[dict[str, Any]]:
    """Policy and binding as they stand in the chart: all that is templated there is whether to have them, and
    their labels."""
    lines = TEMPLATE.read_text(encoding="utf-8").splitlines()
    plain = "\n".join(line for line in lines if "{{" not in line)
    return list(yaml.safe_load_all(plain))


def install(cluster: Cluster, namespace: str) -> str:
    """The policy, at work in this namespace when it returns. Gives the name of its binding."""
    policy, binding = documents()
    binding["metadata"]["name"] = f"pik-replayjob-approval-{namespace}"
    of_namespace = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding["spec"]["matchResources"] = of_namespace
    items = {"apiVersion": "v1", "kind": "List", "items": [policy, binding]}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(items))
    deadline = time.monotonic() + _PATIENCE
    while not is_at_work(cluster, namespace):
        if time.monotonic() > deadline:
            raise AssertionError("the API server does not take up the policy")
        time.sleep(_PAUSE)
    return str(binding["metadata"]["name"])


def unbind(cluster: Cluster, namespace: str) -> None:
    """The policy by itself does nothing. It may still be at work for a moment. A binding for the whole
    cluster, which other tests may have made, goes too: they make it when they need it."""
    names = (f"pik-replayjob-approval-{namespace}", "pik-replayjob-approval")
    cluster.kubectl("delete", "--ignore-not-found", "validatingadmissionpolicybinding", *names)


def uninstall(cluster: Cluster, namespace: str) -> None:
    """It is not at work when it returns."""
    unbind(cluster, namespace)
    deadline = time.monotonic() + _PATIENCE
    while is_at_work(cluster, namespace):
        if time.monotonic() > deadline:
            raise AssertionError("the API server does not let go of the policy")
        time.sleep(_PAUSE)


def is_at_work(cluster: Cluster, namespace: str) -> bool:
    try:
        cluster.kubectl("create", "--dry-run=server", "-n", namespace, "-f", "-", stdin=json.dumps(PROBE))
    except CommandFailed as error:
        return "ValidatingAdmissionPolicy" in str(error)
    return False
