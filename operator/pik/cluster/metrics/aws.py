"""Calls of AWS."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from pik.aws.observing import CallResult
from pik.cluster.metrics.names import AWS_DURATION, AWS_REQUESTS, AWS_RETRIES
from pik.cluster.metrics.registry import counter, histogram


class AwsMetrics:
    """`aws.observing.AwsObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = counter(registry, AWS_REQUESTS)
        self._retries = counter(registry, AWS_RETRIES)
        self._durations = histogram(registry, AWS_DURATION)

    def answered(
        self, service: str, operation: str, result: CallResult, seconds: float, attempt: int
    ) -> None:
        self._requests.labels(service, operation, result.value).inc()
        self._durations.labels(service, operation).observe(seconds)
        if attempt > 1:
            self._retries.labels(service, operation).inc()
