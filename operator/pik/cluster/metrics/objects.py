"""What objects are like, by the status that their last pass wrote."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry

from pik.api.aggregate_version import AggregateVersionStatus
from pik.api.conditions import ConditionType, condition_of
from pik.api.kinds import AnyResource
from pik.api.replay_job import ProgressStatus, ReplayJobStatus
from pik.api.stream_status import CaptureStreamStatus
from pik.cluster.metrics import names
from pik.cluster.metrics.names import Metric
from pik.cluster.metrics.registry import Values, counter, read
from pik.controller.objects import ObjectKey, key_of
from pik.controller.outcome import AnyStatus
from pik.domain.instants import parse_instant

_MICROS = 1_000_000
_ABSENT = "Absent"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a status, a fraction of it. `figures`: by the name of the metric."""

    ready: str
    reason: str
    stalled: str | None  # the reason
    figures: tuple[tuple[str, float], ...]


class ObjectMetrics:
    """States of all objects, streams' counters, runs under way. Belongs to one event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seen: dict[ObjectKey, _Seen] = {}
        read(registry, names.OBJECTS, self._by_reason)
        read(registry, names.STALLED, self._stalled)
        for metric in _FIGURES:
            read(registry, metric, partial(self._figure, metric.name))

    def passed(self, resource: AnyResource, status: AnyStatus) -> None:
        ready, reason = _state(status)
        stalled = condition_of(status.conditions, ConditionType.STALLED)
        self._seen[key_of(resource)] = _Seen(
            ready, reason, None if stalled is None else stalled.reason, tuple(_figures(status))
        )

    def gone(self, key: ObjectKey) -> None:
        self._seen.pop(key, None)

    def _by_reason(self) -> Values:
        return Tally((key.kind, seen.ready, seen.reason) for key, seen in self._seen.items())

    def _stalled(self) -> Values:
        return {(*key, seen.stalled): 1.0 for key, seen in self._seen.items() if seen.stalled is not None}

    def _figure(self, name: str) -> Values:
        return {
            (key.namespace, key.name): value
            for key, seen in self._seen.items()
            for metric, value in seen.figures
            if metric == name
        }


_FIGURES = (
    *(names.STREAM_EVENTS, names.STREAM_DUPLICATES, names.STREAM_CONFLICTS, names.STREAM_LAST_INGEST),
    *(names.REPLAY_REMAINING, names.REPLAY_CHECKPOINT),
)


def _figures(status: AnyStatus) -> Iterator[tuple[str, float]]:
    """A stream's counters; of a run, while it is under way, how far it is."""
    figures: dict[Metric, float | None] = {}
    if isinstance(status, CaptureStreamStatus) and status.counters is not None:
        figures = {
            names.STREAM_EVENTS: status.counters.events,
            names.STREAM_DUPLICATES: status.counters.duplicates,
            names.STREAM_CONFLICTS: status.counters.conflicts,
            names.STREAM_LAST_INGEST: _seconds(status.counters.lastIngestTime),
        }
    elif isinstance(status, ReplayJobStatus) and status.run and status.run.completionTime is None:
        figures = {
            names.REPLAY_REMAINING: _remaining(status),
            names.REPLAY_CHECKPOINT: _checkpoint(status),
        }
    for metric, value in figures.items():
        if value is not None:
            yield metric.name, value


class EndMetrics:
    """What replays sent and how they ended, and how aggregates did: by what a pass changed in the status, so
    that a process that begins anew, or an object that is made again, counts nothing a second time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = counter(registry, names.REPLAY_EVENTS)
        self._bytes = counter(registry, names.REPLAY_BYTES)
        self._runs = counter(registry, names.REPLAY_RUNS)
        self._aggregates = counter(registry, names.AGGREGATES)

    def passed(self, resource: AnyResource, status: AnyStatus) -> None:
        before, namespace = resource.status, resource.metadata.namespace
        if isinstance(before, ReplayJobStatus) and isinstance(status, ReplayJobStatus):
            self._replay(before, status, namespace)
        if isinstance(before, AggregateVersionStatus) and isinstance(status, AggregateVersionStatus):
            _, reason = _state(status)
            if _has_ended(status) and not _has_ended(before):
                self._aggregates.labels(namespace, reason).inc()

    def _replay(self, before: ReplayJobStatus, status: ReplayJobStatus, namespace: str) -> None:
        if before.run is None or status.run is None or before.run.id != status.run.id:
            return  # it was found on record, or begins: what was sent before is not of now
        old, new = before.progress or ProgressStatus(), status.progress or ProgressStatus()
        for result in ("sent", "failed", "held"):
            more = (getattr(new, result) or 0) - (getattr(old, result) or 0)
            self._events.labels(namespace, result).inc(max(0, more))
        self._bytes.labels(namespace).inc(max(0, (new.bytes or 0) - (old.bytes or 0)))
        if before.run.completionTime is None and status.run.completionTime is not None:
            self._runs.labels(namespace, _state(status)[1]).inc()


def _state(status: AnyStatus) -> tuple[str, str]:
    """Of the condition Ready, and its reason; that of Complete where there is no Ready."""
    ready = condition_of(status.conditions, ConditionType.READY)
    shown = ready or condition_of(status.conditions, ConditionType.COMPLETE)
    return (_ABSENT if ready is None else ready.status, "" if shown is None else shown.reason)


def _has_ended(status: AggregateVersionStatus) -> bool:
    found = (condition_of(status.conditions, kind) for kind in (ConditionType.COMPLETE, ConditionType.FAILED))
    return any(condition is not None and condition.status == "True" for condition in found)


def _seconds(instant: str | None) -> float | None:
    return None if instant is None else parse_instant(instant).micros / _MICROS


def _remaining(status: ReplayJobStatus) -> float | None:
    if status.plan is None or status.plan.matched is None:
        return None
    done = status.progress or ProgressStatus()
    return max(0, status.plan.matched - (done.sent or 0) - (done.failed or 0) - (done.held or 0))


def _checkpoint(status: ReplayJobStatus) -> float | None:
    written = None if status.progress is None else status.progress.lastCheckpointTime
    began = None if status.run is None else status.run.startTime
    return _seconds(written or began)
