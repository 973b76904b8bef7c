"""A change of a Job wakes the object that it is of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pik.cluster.api import Object
from pik.cluster.jobs.manifests import KIND, MANAGED_BY, OBJECT
from pik.controller.objects import ObjectKey

SELECTOR = ",".join(f"{name}={value}" for name, value in MANAGED_BY.items())
"""A label selector of all Jobs that pik makes."""


class JobOnlooker:
    """`cluster.informer.Onlooker`. `wake`: told which object to look at; more often than is needed does no
    harm."""

    def __init__(self, wake: Callable[[ObjectKey], None]) -> None:
        self._wake = wake

    def listed(self, objects: Sequence[Object]) -> None:
        for given in objects:
            self.seen(given)

    def seen(self, given: Object) -> None:
        meta = given["metadata"]
        kind, name = meta.get("labels", {}).get(KIND), meta.get("annotations", {}).get(OBJECT)
        if kind is not None and name is not None:
            self._wake(ObjectKey(kind, meta["namespace"], name))

    def gone(self, given: Object) -> None:
        self.seen(given)
