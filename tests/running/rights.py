"""The operator with exactly the rights that the chart gives it, and none of an administrator's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from chart.rendering import Manifest, Renderer, of_kind
from cluster.handle import Cluster

_RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
_POLICY = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


class Right(NamedTuple):
    """One verb of one resource, with its subresource after a slash."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}.{self.group}".rstrip(".")


def manifests(render: Renderer, namespace: str, **values: Any) -> list[Manifest]:
    """What an installation in this namespace brings, but for what runs: of the operator alone, where the
    values say nothing else."""
    usual = {
        "gateway": {"enabled": False},
        "rbac": {"userRoles": False},
        "crds": {"install": False},
        "approvalPolicy": {"install": "Enabled"},
    }
    rendered = render(namespace=namespace, clusterName=namespace, **(usual | values))
    return of_kind(rendered, *_RIGHTS, *_POLICY)


def rights_of(given: list[Manifest]) -> Iterator[Right]:
    """Every right that the roles among them give."""
    for role in of_kind(given, "Role", "ClusterRole"):
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        yield Right(group, resource, verb)


def without(given: list[Manifest], right: Right) -> list[Manifest]:
    """The same with one right less."""
    return [_without(one, right) if one["kind"] in ("Role", "ClusterRole") else one for one in given]


def _without(role: Manifest, right: Right) -> Manifest:
    rules = []
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                verbs = [verb for verb in rule["verbs"] if Right(group, resource, verb) != right]
                if verbs:
                    rules.append({**rule, "apiGroups": [group], "resources": [resource], "verbs": verbs})
    return {**role, "rules": rules}


def granted(cluster: Cluster, namespace: str, given: list[Manifest]) -> Path:
    """Applies them; a kubeconfig of the operator's service account."""
    cluster.kubectl("apply", "--namespace", namespace, "-f", "-", stdin=yaml.safe_dump_all(given))
    (account,) = of_kind(given, "ServiceAccount")
    return cluster.kubeconfig_of(namespace, account["metadata"]["name"])
