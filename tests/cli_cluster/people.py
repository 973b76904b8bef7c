"""People at a cluster: what they may do, and what `pik` tells them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from click.testing import CliRunner, Result

from cluster.handle import Cluster
from pik.cli.main import pik

GROUP = "pik.dev"
KINDS = ("capturestreams", "replayjobs", "aggregateversions")
LOOK = {"apiGroups": [GROUP], "resources": list(KINDS), "verbs": ["get", "list", "watch"]}
EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]}
SET = {"apiGroups": [GROUP], "resources": list(KINDS), "verbs": ["patch"]}
CREATE = {"apiGroups": [GROUP], "resources": ["replayjobs"], "verbs": ["create"]}
APPROVE = {"apiGroups": [GROUP], "resources": ["replayjobs/approval"], "verbs": ["update"]}

MANIFESTS = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {name: things}
spec:
  storage: {prefix: some}
---
apiVersion: pik.dev/v1alpha1
kind: ReplayJob
metadata: {name: again}
spec:
  streamRef: {name: things}
  select: {window: {from: "2013-07-10T04:00:00Z", to: "2013-07-11T04:00:00Z"}}
  target: {type: SQS, sqs: {queueURL: "https://sqs.us-east-1.amazonaws.com/000000000000/q"}}
---
apiVersion: pik.dev/v1alpha1
kind: AggregateVersion
metadata: {name: hourly}
spec:
  streamRef: {name: things}
  window: {from: "2013-07-10T04:00:00Z", to: "2013-07-11T04:00:00Z"}
  bucket: Hour
  measures: [{name: events, expression: count(*)}]
"""
OBJECTS = (("cst", "things"), ("rj", "again"), ("av", "hourly"))


@dataclass(frozen=True)
class Person:
    """Somebody with a kubeconfig whose context names the namespace."""

    user: str
    kubeconfig: Path

    def asks(self, *words: str, code: int = 0, **environ: str) -> Result:
        """Runs `pik`, as a person does whose `KUBECONFIG` is set."""
        told = {"KUBECONFIG": str(self.kubeconfig), "COLUMNS": "120", **environ}
        result = CliRunner(env=told).invoke(pik, words)
        assert result.exit_code == code, result.output
        return result

    def reads(self, *words: str) -> Any:
        """What a command says in JSON."""
        return json.loads(self.asks(*words, "-o", "json").stdout)


class Team:
    """A namespace and its people."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def person(self, name: str, *rules: dict[str, Any]) -> Person:
        """With these rights in the namespace, and no others."""
        user = f"{name}@example.com"
        role = f"{name}-{uuid4().hex[:8]}"
        meta = {"name": role, "namespace": self.namespace}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
        head = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": meta}
        for one in (
            {**head, "kind": "Role", "rules": list(rules)},
            {**head, "kind": "RoleBinding", "roleRef": reference, "subjects": [subject]},
        ):
            self.cluster.kubectl("create", "-f", "-", stdin=json.dumps(one))
        kubeconfig = self.cluster.kubeconfig_for(user)
        self.cluster.kubectl(
            "config", "set-context", "--current", "--namespace", self.namespace, as_=kubeconfig
        )
        return Person(user, kubeconfig)

    def gitops(self, manifests: str = MANIFESTS, *, manager: str = "kustomize-controller") -> str:
        """As Flux and Argo CD apply what is in Git: server-side, in their own name, forced."""
        return self.applies("--server-side", "--force-conflicts", "--field-manager", manager, text=manifests)

    def applies(self, *options: str, text: str = MANIFESTS) -> str:
        return self.cluster.kubectl("apply", "-n", self.namespace, *options, "-f", "-", stdin=text)

    def there(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.cluster.kubectl(
                "get", kind, name, "-n", self.namespace, "-o", "json", "--show-managed-fields"
            )
        )
        return found

    def with_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        """As the operator writes it."""
        there = {**self.there(kind, name), "status": status}
        self.cluster.kubectl("replace", "--subresource=status", "-f", "-", stdin=json.dumps(there))

    def managed(self, kind: str, name: str, manager: str) -> Any:
        """The fields of one manager."""
        entries = self.there(kind, name)["metadata"]["managedFields"]
        return next((entry["fieldsV1"] for entry in entries if entry["manager"] == manager), None)


Hire = Callable[..., Person]
