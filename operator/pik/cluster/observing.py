"""Who the operator's controllers are observed by: metrics, and the lines of its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pik.api.kinds import AnyResource
from pik.cluster.logs import Subject, about
from pik.cluster.metrics import names
from pik.cluster.metrics.aws import AwsMetrics
from pik.cluster.metrics.objects import EndMetrics, ObjectMetrics
from pik.cluster.metrics.registry import Registry, Values, read
from pik.cluster.metrics.streams import StreamMetrics
from pik.cluster.metrics.work import PassMetrics, QueueMetrics
from pik.controller.objects import ObjectKey
from pik.controller.outcome import AnyStatus, Outcome
from pik.ports.system import Clock, Entropy

_DIGITS = 12  # of the id of a pass


class OperatorObserver:
    """`controller.observers.PassObserver`. `queue`, `streams` and `aws` are the other observers that
    controllers and clients take. Belongs to one event loop, but for `aws`."""

    def __init__(self, registry: Registry, clock: Clock, entropy: Entropy) -> None:
        self.registry = registry
        self.queue = QueueMetrics(registry)
        self.streams = StreamMetrics(registry)
        self.aws = AwsMetrics(registry)
        self._entropy = entropy
        self._passes = PassMetrics(registry, clock)
        self._objects = ObjectMetrics(registry)
        self._ends = EndMetrics(registry)

    def leading(self, leads: Callable[[], bool], restarts: Callable[[], Values]) -> None:
        """`leads`: whether this replica does. `restarts`: of watches, by what they watch."""
        read(self.registry, names.LEADER, lambda: {(): float(leads())})
        read(self.registry, names.WATCH_RESTARTS, restarts)

    @contextmanager
    def passing(self, key: ObjectKey, generation: int | None) -> Iterator[None]:
        with about(Subject(key, self._entropy.hex(_DIGITS), generation)), self._passes.passing(key):
            yield

    def passed(self, resource: AnyResource, status: AnyStatus, outcome: Outcome) -> None:
        self._passes.passed(resource, outcome)
        for one in (self._objects, self._ends, self.streams):
            one.passed(resource, status)

    def unwritten(self, key: ObjectKey) -> None:
        self._passes.unwritten(key)

    def gone(self, key: ObjectKey) -> None:
        self._objects.gone(key)
        self.streams.gone(key)
