"""Namespaces and their labels, as the API server has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pik.cluster.api import Api
from pik.cluster.errors import KubeNotFound
from pik.cluster.paths import namespace_at
from pik.cluster.remembering import Holding, Remembered
from pik.controller.tenancy import Namespaces, UnreadableNamespaces
from pik.ports.system import Clock

_HOLDING = Holding(good=30.0, bad=5.0, outage=30.0)
_ASKING = 1_000


class ClusterNamespaces:
    """`controller.tenancy.Namespaces`; labels are as of half a minute ago at most. Belongs to one event
    loop."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._known: Remembered[str, Mapping[str, str]] = Remembered(clock, _HOLDING, asking=_ASKING)

    async def labels(self, namespace: str) -> Mapping[str, str]:
        return await self._known.get(namespace, lambda: self._ask(namespace), lambda _: True)

    async def _ask(self, namespace: str) -> Mapping[str, str]:
        try:
            found = await self._api.get(namespace_at(namespace))
        except KubeNotFound:
            return {}
        labels: Mapping[str, str] = found["metadata"].get("labels") or {}
        return labels


def namespaces(api: Api, watched: Sequence[str], clock: Clock) -> Namespaces:
    """`watched`: those whose objects are reconciled; where they are named, pik has no right to read any."""
    if watched:
        return UnreadableNamespaces("pik is installed for single namespaces, and may read none of them")
    return ClusterNamespaces(api, clock)
