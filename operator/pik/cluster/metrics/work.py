"""The operator's work queue and passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from pik.api.kinds import AnyResource
from pik.cluster.metrics import names
from pik.cluster.metrics.registry import counter, histogram, read
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Outcome
from pik.controller.queue import WorkQueue
from pik.ports.system import Clock

_MICROS = 1_000_000
_UNWRITTEN = "Unwritten"


class QueueMetrics:
    """`controller.observers.QueueObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._adds = counter(registry, names.QUEUE_ADDS)
        self._waits = histogram(registry, names.QUEUE_WAIT)

    def added(self) -> None:
        self._adds.inc()

    def taken(self, waited: float) -> None:
        self._waits.observe(waited)

    def watch(self, queue: WorkQueue) -> None:
        """What the queue is like whenever somebody looks."""
        read(self._registry, names.QUEUE_DEPTH, lambda: {(): queue.depth()})
        read(self._registry, names.QUEUE_RUNNING, lambda: {(): queue.running()})
        read(self._registry, names.QUEUE_LONGEST, lambda: {(): queue.longest_running()})


class PassMetrics:
    """How long passes take, and what they come to."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._clock = clock
        self._passes = counter(registry, names.RECONCILES)
        self._durations = histogram(registry, names.RECONCILE_DURATION)

    @contextmanager
    def passing(self, key: ObjectKey) -> Iterator[None]:
        began = self._clock.now().micros
        try:
            yield
        finally:
            took = max(0, self._clock.now().micros - began)
            self._durations.labels(key.kind).observe(took / _MICROS)

    def passed(self, resource: AnyResource, outcome: Outcome) -> None:
        self._passes.labels(resource.KIND, type(outcome).__name__, outcome.reason.value).inc()

    def unwritten(self, key: ObjectKey) -> None:
        self._passes.labels(key.kind, _UNWRITTEN, _UNWRITTEN).inc()
