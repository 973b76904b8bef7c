"""What a cluster knows of its tenants: who approves, and what namespaces are labelled with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pik.controller.objects import ObjectKey
from pik.domain.errors import SelectorNotReadable


class ApprovalGuard(Protocol):
    async def governed(self, job: ObjectKey) -> bool:
        """Whether only those who may approve can write an approval into this ReplayJob. Raises
        `KubernetesUnavailable` and `KubernetesRefused`."""
        ...


class FolderApprovals:
    """Local mode: who may write the folder may approve."""

    async def governed(self, job: ObjectKey) -> bool:  # noqa: ARG002
        return True


class Namespaces(Protocol):
    async def labels(self, namespace: str) -> Mapping[str, str]:
        """Raises `SelectorNotReadable`, `KubernetesUnavailable` and `KubernetesRefused`."""
        ...


class UnreadableNamespaces:
    """Where there are none, or where pik may not read them. `why`: for a person."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def labels(self, namespace: str) -> Mapping[str, str]:
        raise SelectorNotReadable(f"the labels of namespace {namespace} cannot be read: {self._why}")
