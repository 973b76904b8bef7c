"""What watches may have missed, found by listing: deletions are made up for, and a watch that no longer
delivers ends the process, since nothing inside it can be trusted to mend it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pik.api.kinds import KINDS
from pik.cluster.api import Api, Object
from pik.cluster.errors import KubeError
from pik.cluster.listing import list_all
from pik.cluster.objects import ClusterObjects, key_of_manifest
from pik.cluster.paths import objects_of
from pik.controller.objects import ObjectKey
from pik.domain.errors import PikError
from pik.ports.system import Clock, Entropy

log = logging.getLogger(__name__)

_SPREAD = 0.2  # of the interval, so that replicas do not list at once


class WatchBroken(PikError):
    """Changes are there that the watch did not deliver."""


class Resync:
    """`interval`: seconds between two looks. `patience`: seconds that a watch may be behind a list."""

    def __init__(
        self,
        api: Api,
        objects: ClusterObjects,
        namespaces: Sequence[str],
        *,
        clock: Clock,
        entropy: Entropy,
        interval: float,
        patience: float = 60.0,
    ) -> None:
        self._api = api
        self._objects = objects
        self._namespaces = namespaces
        self._clock = clock
        self._entropy = entropy
        self._interval = interval
        self._patience = patience

    async def fill(self) -> None:
        """All objects as they are now, for a cache that no watch has filled yet. Raises what `Api` does."""
        for given in await self._listed():
            self._objects.seen(given)

    async def run(self) -> None:
        """Until cancelled. Raises `WatchBroken`."""
        while True:
            part = int(self._entropy.hex(8), 16) / 0xFFFFFFFF
            await self._clock.sleep(self._interval * (1 + _SPREAD * part))
            try:
                await self.look()
            except KubeError as error:
                log.warning("the objects cannot be listed, and are later: %s", error)

    async def look(self) -> None:
        """Raises `WatchBroken`, and what `Api` does."""
        known = {key: self._objects.uid(key) for key in self._objects.keys()}  # noqa: SIM118 - no mapping
        listed = {key_of_manifest(given): given for given in await self._listed()}
        behind = [key for key, given in listed.items() if self._is_behind(key, given)]
        for key, uid in known.items():
            if key not in listed and uid is not None:
                self._forget(key, uid)
        if not behind:
            return
        await self._clock.sleep(self._patience)
        # what is another object by now was brought by the watch, and may be newer than the list
        still = [
            key
            for key in behind
            if self._objects.uid(key) == known.get(key) and self._is_behind(key, listed[key])
        ]
        if still:
            there = {key_of_manifest(given): given for given in await self._listed()}
            still = [key for key in still if key in there and self._is_behind(key, there[key])]
        if still:
            raise WatchBroken(
                f"{len(still)} objects changed and the watch did not say so, {still[0]} for one"
            )

    def _is_behind(self, key: ObjectKey, given: Object) -> bool:
        """Whether another object than this, or an older generation of it, is known."""
        another = self._objects.uid(key) != given["metadata"]["uid"]
        return another or (self._objects.generation(key) or 0) < _generation(given)

    def _forget(self, key: ObjectKey, uid: str) -> None:
        meta = {"namespace": key.namespace, "name": key.name, "uid": uid}
        self._objects.gone({"kind": key.kind, "metadata": meta})

    async def _listed(self) -> list[Object]:
        found: list[Object] = []
        for kind in KINDS:
            for namespace in self._namespaces or (None,):
                found += (await list_all(self._api, objects_of(kind, namespace))).objects
        return found


def _generation(given: Object) -> int:
    return int(given["metadata"].get("generation", 0))
