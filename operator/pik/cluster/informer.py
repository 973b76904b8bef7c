"""What there is under a path, and every change of it: a list, then a watch from there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from pik.cluster.api import Api, Object
from pik.cluster.errors import KubeConflict, KubeError, KubeExpired
from pik.cluster.listing import list_all
from pik.controller.outcome import Backoff
from pik.ports.system import Clock, Entropy

log = logging.getLogger(__name__)

_BACKOFF = Backoff(first=0.5, longest=30.0)
_PAUSE = 0.2  # seconds between two watches that both end at once, so that they are no storm


class Onlooker(Protocol):
    """Who is told. Objects are as the API server gave them; the onlooker may keep and change them."""

    def listed(self, objects: Sequence[Object]) -> None:
        """All that there is: what is not among these is gone."""
        ...

    def seen(self, given: Object) -> None:
        """The object is there, in this state."""
        ...

    def gone(self, given: Object) -> None:
        """The object is gone; this was its last state."""
        ...


class Informer:
    """Belongs to one event loop. `synced` is set once the first list was told."""

    def __init__(
        self,
        api: Api,
        path: str,
        onlooker: Onlooker,
        *,
        clock: Clock,
        entropy: Entropy,
        labels: str | None = None,
    ) -> None:
        """`labels`: a label selector."""
        self._api = api
        self._path = path
        self._onlooker = onlooker
        self._clock = clock
        self._entropy = entropy
        self._query = {} if labels is None else {"labelSelector": labels}
        self.synced = asyncio.Event()
        self.restarts = 0  # lists and watches that had to be begun again after an error

    async def run(self) -> None:
        """Until cancelled. While the API server is away, what is known stays known."""
        version: str | None = None
        failures = 0
        while True:
            try:
                if version is None:
                    listed = await list_all(self._api, self._path, **self._query)
                    version = listed.resource_version
                    self._onlooker.listed(listed.objects)
                    self.synced.set()
                async for event in self._api.watch(self._path, version, **self._query):
                    version = event["object"]["metadata"]["resourceVersion"]
                    self._tell(event["type"], event["object"])
                    failures = 0
                await self._clock.sleep(_PAUSE)
            except (KubeExpired, KubeConflict):
                version = None  # too old to go on from
                self.restarts += 1
            except KubeError as error:
                failures += 1
                self.restarts += 1
                wait = _BACKOFF.wait(failures, int(self._entropy.hex(8), 16) / 0xFFFFFFFF)
                log.warning("watching %s is tried again in %.1f s: %s", self._path, wait, error)
                await self._clock.sleep(wait)

    def _tell(self, kind: str, given: Object) -> None:
        if kind in ("ADDED", "MODIFIED"):
            self._onlooker.seen(given)
        elif kind == "DELETED":
            self._onlooker.gone(given)
