"""A registry of its own for each process, as a value, and instruments made from the table of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from pik.cluster.metrics.names import BUILD_INFO, Metric, MetricType

Values = Mapping[tuple[str, ...], float]
"""By the values of a metric's labels, in their order."""


class Registry(CollectorRegistry):
    """Without the `_created` series that the library adds to every counter and histogram: they double what
    is kept, and Prometheus makes nothing of them."""

    def collect(self) -> Iterable[Family]:
        for family in super().collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def process_registry(version: str) -> Registry:
    """With what every process exports: which version it is, its memory, CPU and open files."""
    registry = Registry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    read(registry, BUILD_INFO, lambda: {(version,): 1.0})
    return registry


def counter(registry: CollectorRegistry, metric: Metric) -> Counter:
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def histogram(registry: CollectorRegistry, metric: Metric) -> Histogram:
    return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)


def read(registry: CollectorRegistry, metric: Metric, values: Callable[[], Values]) -> None:
    """A gauge or counter whose values are asked for when somebody looks: in the event loop that serves
    them."""
    registry.register(_Read(metric, values))


class _Read(Collector):
    def __init__(self, metric: Metric, values: Callable[[], Values]) -> None:
        self._metric = metric
        self._values = values

    def describe(self) -> Iterator[Family]:
        yield self._family()

    def collect(self) -> Iterator[Family]:
        family = self._family()
        for labels, value in self._values().items():
            family.add_metric(labels, value)
        yield family

    def _family(self) -> CounterMetricFamily | GaugeMetricFamily:
        metric = self._metric
        kind = CounterMetricFamily if metric.type is MetricType.COUNTER else GaugeMetricFamily
        return kind(metric.name, metric.help, labels=metric.labels)
