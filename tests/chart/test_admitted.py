"""A real API server takes what is rendered, in a namespace with the restricted Pod Security Standard."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from chart.rendering import FILES, Manifest, Renderer, of_kind, pods
from cluster.errors import CommandFailed
from clusters_for_tests import Kubectl

_FOREIGN = ("ServiceMonitor", "PrometheusRule")  # of the Prometheus operator, which is not here
_KEPT = ("CustomResourceDefinition",)  # those of the session are somebody else's here


@pytest.fixture
def restricted(kubectl: Kubectl, kube_namespace: str) -> str:
    kubectl(
        *("label", "namespace", kube_namespace),
        *(f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")),
    )
    return kube_namespace


def listed(manifests: Iterable[Manifest]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})


def admit(kubectl: Kubectl, manifests: Iterable[Manifest]) -> str:
    """Raises CommandFailed, also for a field that nobody knows."""
    return kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=listed(manifests)
    )


@pytest.mark.parametrize("values", FILES)
def test_every_manifest_is_admitted(render: Renderer, kubectl: Kubectl, restricted: str, values: str) -> None:
    watched = {"watchNamespaces": [restricted]} if values == "namespaced" else {}
    manifests = render(values, namespace=restricted, **watched)
    ours = [one for one in manifests if one["kind"] not in (*_FOREIGN, *_KEPT)]
    told = admit(kubectl, ours)
    assert len(told.splitlines()) == len(ours)


@pytest.mark.parametrize("values", FILES)
def test_every_pod_is_admitted_as_restricted(
    render: Renderer, kubectl: Kubectl, restricted: str, values: str
) -> None:
    """Of a Deployment the standard only warns: its pods are what is refused."""
    made = list(pods(render(values, namespace=restricted)))
    assert made
    for pod in made:
        pod["metadata"]["namespace"] = restricted
        pod["spec"].pop("priorityClassName", None)  # a quota may be asked for it
        pod["spec"].pop("serviceAccountName", None)  # it is not there
    admit(kubectl, made)


def test_the_namespace_does_refuse(render: Renderer, kubectl: Kubectl, restricted: str) -> None:
    (pod, *_) = pods(render("least", namespace=restricted))
    pod["metadata"]["namespace"] = restricted
    pod["spec"].pop("serviceAccountName", None)
    del pod["spec"]["containers"][0]["securityContext"]
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        admit(kubectl, [pod])


def test_strict_validation_does_refuse(render: Renderer, kubectl: Kubectl, restricted: str) -> None:
    (deployment, *_) = of_kind(render("least", namespace=restricted), "Deployment")
    deployment["spec"]["template"]["spec"]["readinessGate"] = []
    with pytest.raises(CommandFailed, match="readinessGate"):
        admit(kubectl, [deployment])
