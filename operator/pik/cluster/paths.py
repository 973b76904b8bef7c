"""Where the API server has things."""

from __future__ import annotations

from pik.api.common import GROUP, VERSION
from pik.api.kinds import KINDS
from pik.controller.objects import ObjectKey

API_SERVER_ENDPOINTS = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"


def objects_of(kind: str, namespace: str | None = None) -> str:
    """All objects of one of pik's kinds, or those of one namespace."""
    return _within(f"/apis/{GROUP}/{VERSION}", namespace, KINDS[kind].PLURAL)


def object_at(key: ObjectKey) -> str:
    return f"{objects_of(key.kind, key.namespace)}/{key.name}"


def status_at(key: ObjectKey) -> str:
    return f"{object_at(key)}/status"


def namespace_at(name: str) -> str:
    return f"/api/v1/namespaces/{name}"


def jobs(namespace: str | None = None) -> str:
    return _within("/apis/batch/v1", namespace, "jobs")


def pods(namespace: str) -> str:
    return _within("/api/v1", namespace, "pods")


def events(namespace: str) -> str:
    return _within("/api/v1", namespace, "events")


def leases(namespace: str) -> str:
    return _within("/apis/coordination.k8s.io/v1", namespace, "leases")


def _within(api: str, namespace: str | None, plural: str) -> str:
    return f"{api}/{plural}" if namespace is None else f"{api}/namespaces/{namespace}/{plural}"
