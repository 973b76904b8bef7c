"""What the gateway takes and answers."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from operator import attrgetter

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from pik.cluster.metrics import names
from pik.cluster.metrics.registry import Values, counter, histogram, read
from pik.execution.capture.answers import Answer, Status

_WORD = attrgetter("status._value_")  # to hash an enum's member is ten times as slow as its text
_BOUNDS = tuple(round(bound * 1000) for bound in names.INGEST_LATENESS.buckets)  # milliseconds
_EDGES = (*map(floatToGoString, names.INGEST_LATENESS.buckets), "+Inf")
StreamName = tuple[str, str]
_NO_STREAM: StreamName = ("", "")


@dataclass(slots=True)
class _Taken:
    """Of one stream. `lateness`: events by the index of the first bound that is not below."""

    requests: Tally[str] = field(default_factory=Tally)
    events: Tally[str] = field(default_factory=Tally)
    bytes: int = 0
    lateness: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    late_millis: int = 0


class IngestMetrics:
    """Counts a batch's events in one go: one by one they would cost as much as reading them. Streams that are
    gone are forgotten. Belongs to one event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._taken: dict[StreamName, _Taken] = {_NO_STREAM: _Taken()}
        self._durations = histogram(registry, names.INGEST_DURATION)
        self._callers = counter(registry, names.INGEST_CALLERS)
        read(registry, names.INGEST_REQUESTS, lambda: self._by_word(lambda taken: taken.requests))
        read(registry, names.INGEST_EVENTS, lambda: self._by_word(lambda taken: taken.events))
        read(registry, names.INGEST_BYTES, self._bytes)
        registry.register(_Lateness(self._taken))

    def took(self, stream: StreamName, size: int, answers: Sequence[Answer]) -> None:
        taken = self._of(stream)
        taken.bytes += size
        taken.events.update(map(_WORD, answers))
        late = [
            max(0, answer.ingest_lag_ms)
            for answer in answers
            # law 10: neither repeats nor replays are late
            if (answer.status is Status.ACCEPTED or answer.status is Status.RECORDED)
            and answer.ingest_lag_ms is not None
        ]
        taken.late_millis += sum(late)
        for index, count in Tally(map(partial(bisect_left, _BOUNDS), late)).items():
            taken.lateness[index] += count

    def answered(self, stream: StreamName | None, status: HTTPStatus, seconds: float) -> None:
        """`stream` None: there is none of that name, and no name that callers make up is kept."""
        self._of(stream or _NO_STREAM).requests[str(status.value)] += 1
        self._durations.labels(str(status.value)).observe(seconds)

    def called(self, kind: str, result: str) -> None:
        """A caller was asked who it is."""
        self._callers.labels(kind, result).inc()

    def gone(self, stream: StreamName) -> None:
        self._taken.pop(stream, None)

    def watch(
        self, waiting: Callable[[], int], held: Callable[[], int], streams: Callable[[], Values]
    ) -> None:
        """What the gateway is like whenever somebody looks."""
        read(self._registry, names.INGEST_WAITING, lambda: {(): waiting()})
        read(self._registry, names.INGEST_HELD, lambda: {(): held()})
        read(self._registry, names.INGEST_STREAMS, streams)

    def _of(self, stream: StreamName) -> _Taken:
        return self._taken.setdefault(stream, _Taken())

    def _by_word(self, counts: Callable[[_Taken], Tally[str]]) -> Values:
        return {
            (*stream, word): count
            for stream, taken in self._taken.items()
            for word, count in counts(taken).items()
        }

    def _bytes(self) -> Values:
        return {stream: taken.bytes for stream, taken in self._taken.items() if taken.events}


class _Lateness(Collector):
    def __init__(self, taken: dict[StreamName, _Taken]) -> None:
        self._taken = taken

    def describe(self) -> Iterator[Family]:
        yield self._family()

    def collect(self) -> Iterator[Family]:
        family = self._family()
        for stream, taken in self._taken.items():
            if any(taken.lateness):
                below, buckets = 0, []
                for bound, count in zip(_EDGES, taken.lateness, strict=True):
                    below += count
                    buckets.append((bound, float(below)))
                family.add_metric(stream, buckets, taken.late_millis / 1000)
        yield family

    def _family(self) -> HistogramMetricFamily:
        metric = names.INGEST_LATENESS
        return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
