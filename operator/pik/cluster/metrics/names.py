"""Every metric: its name, what it says, its labels. Nothing is exported that is not in this table; docs,
dashboards and alerts are held against it.

Labels take few values: words of pik's own, names of streams, and names of objects that are stalled or running
now. What is gone is exported no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class MetricType(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Process(StrEnum):
    OPERATOR = "operator"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. `buckets`: upper bounds of a histogram, without the last, which is infinite."""

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    by: tuple[Process, ...] = (Process.OPERATOR,)

    def series(self) -> tuple[str, ...]:
        """The names that queries use."""
        if self.type is MetricType.HISTOGRAM:
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


_BOTH = (Process.OPERATOR, Process.GATEWAY)
_GATEWAY = (Process.GATEWAY,)
_STREAM = ("namespace", "name")
_CALLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PASSES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_LATENESS = (1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0)


def _counter(name: str, text: str, *labels: str, by: tuple[Process, ...] = (Process.OPERATOR,)) -> Metric:
    return Metric(name, MetricType.COUNTER, text, labels, by=by)


def _gauge(name: str, text: str, *labels: str, by: tuple[Process, ...] = (Process.OPERATOR,)) -> Metric:
    return Metric(name, MetricType.GAUGE, text, labels, by=by)


def _histogram(
    name: str,
    text: str,
    *labels: str,
    buckets: tuple[float, ...],
    by: tuple[Process, ...] = (Process.OPERATOR,),
) -> Metric:
    return Metric(name, MetricType.HISTOGRAM, text, labels, buckets, by)


BUILD_INFO = _gauge("pik_build_info", "Always 1; the label says which version runs.", "version", by=_BOTH)

# calls of AWS
AWS_REQUESTS = _counter(
    "pik_aws_requests_total",
    "Requests to AWS that have ended, each try counted. result: OK, Unmet (a condition that decides who was "
    "first did not hold), NotFound, Throttled, Denied, Refused, Failed (AWS's own error), Unanswered.",
    *("service", "operation", "result"),
    by=_BOTH,
)
AWS_RETRIES = _counter(
    "pik_aws_retries_total",
    "Requests among pik_aws_requests_total that were a second or later try.",
    *("service", "operation"),
    by=_BOTH,
)
AWS_DURATION = _histogram(
    "pik_aws_request_duration_seconds",
    "Time from a request to AWS to the beginning of its answer.",
    *("service", "operation"),
    buckets=_CALLS,
    by=_BOTH,
)
WATCH_RESTARTS = _counter(
    "pik_watch_restarts_total",
    "Lists and watches of the API server that had to be begun again after an error: the operator's of jobs, "
    "the gateway's of capturestreams.",
    "resource",
    by=_BOTH,
)

# the operator's passes
RECONCILES = _counter(
    "pik_reconcile_total",
    "Passes over objects. outcome: Done, Waiting, Stalled, Retry, or Unwritten where the API server did not "
    "take what was found; reason: that of the object's conditions.",
    *("kind", "outcome", "reason"),
)
RECONCILE_DURATION = _histogram(
    "pik_reconcile_duration_seconds", "Time that a pass over an object took.", "kind", buckets=_PASSES
)
QUEUE_DEPTH = _gauge("pik_workqueue_depth", "Objects that are due and that no worker has taken.")
QUEUE_ADDS = _counter("pik_workqueue_adds_total", "Times that an object came to be due.")
QUEUE_WAIT = _histogram(
    "pik_workqueue_wait_seconds", "Time that an object was due before a worker took it.", buckets=_PASSES
)
QUEUE_RUNNING = _gauge("pik_workqueue_running", "Objects that are being worked on.")
QUEUE_LONGEST = _gauge(
    "pik_workqueue_longest_running_seconds",
    "Time since the object that is being worked on for longest was taken; 0 where there is none.",
)
LEADER = _gauge("pik_leader", "1 where this replica leads, and so reconciles; 0 where it stands by.")
OBJECTS = _gauge(
    "pik_objects",
    "Objects by their condition Ready (True, False, Unknown; Absent while a person is waited for) and its "
    "reason, of the condition Complete where there is no Ready. Of the leader only.",
    *("kind", "ready", "reason"),
)
STALLED = _gauge(
    "pik_object_stalled",
    "1 for each object that has the condition Stalled. Of the leader only.",
    *("kind", "namespace", "name", "reason"),
)

# streams
STREAM_EVENTS = _gauge(
    "pik_stream_events", "Events that a stream holds, as status.counters has them.", *_STREAM
)
STREAM_DUPLICATES = _gauge(
    "pik_stream_duplicates", "Arrivals of a stream that were answered DUPLICATE.", *_STREAM
)
STREAM_CONFLICTS = _gauge(
    "pik_stream_conflicts", "Arrivals of a stream that were answered CONFLICT.", *_STREAM
)
STREAM_LAST_INGEST = _gauge(
    "pik_stream_last_ingest_timestamp_seconds",
    "Ingest time of a stream's newest arrival, as of its last count.",
    *_STREAM,
)
STREAM_DRIFT = _counter(
    "pik_stream_drift_total",
    "Differences between spec and AWS that were found. action: Repaired, Reported.",
    *("namespace", "name", "action"),
)
STREAM_ORPHANS = _counter(
    "pik_stream_orphans_indexed_total",
    "Segments that had landed without a manifest row, since their writer had died, and got one.",
    *_STREAM,
)
STREAM_UNREADABLE = _gauge(
    "pik_stream_unreadable_segments",
    "Objects among a stream's raw data that are no segments, as of the last look: see `pik verify`.",
    *_STREAM,
)
STREAM_SEALS = _counter("pik_stream_seals_total", "Seals that were made.", *_STREAM)
STREAM_SEALED = _counter(
    "pik_stream_sealed_segments_total", "Segments in the seals that were made.", *_STREAM
)
STREAM_SEALS_BROKEN = _counter(
    "pik_stream_seal_failures_total",
    "Times that a stream's chain of seals was found broken: see `pik verify`.",
    *_STREAM,
)

# replays and aggregates
REPLAY_EVENTS = _counter(
    "pik_replay_events_total",
    "Events of replays by what became of them: sent, failed, held, skipped. As checkpoints are read.",
    *("namespace", "result"),
)
REPLAY_BYTES = _counter("pik_replay_bytes_total", "Bytes of the payloads that replays sent.", "namespace")
REPLAY_RUNS = _counter(
    "pik_replay_runs_total", "Runs that ended, by the reason of their end.", *("namespace", "reason")
)
REPLAY_REMAINING = _gauge(
    "pik_replay_remaining_events",
    "Of a run under way: events of its plan of which nothing became yet.",
    *_STREAM,
)
REPLAY_CHECKPOINT = _gauge(
    "pik_replay_last_checkpoint_timestamp_seconds",
    "Of a run under way: when a checkpoint was last written, or else when it began.",
    *_STREAM,
)
AGGREGATES = _counter(
    "pik_aggregate_versions_total",
    "AggregateVersions that came to their end, by its reason.",
    *("namespace", "reason"),
)

# the gateway
INGEST_REQUESTS = _counter(
    "pik_ingest_requests_total",
    "Requests by the HTTP status of their answer; namespace and name are empty where there is no such "
    "stream.",
    *(*_STREAM, "status"),
    by=_GATEWAY,
)
INGEST_DURATION = _histogram(
    "pik_ingest_request_duration_seconds",
    "Time from a request's head to its answer.",
    "status",
    buckets=_CALLS,
    by=_GATEWAY,
)
INGEST_EVENTS = _counter(
    "pik_ingest_events_total",
    "Events by their answer: ACCEPTED, RECORDED, DUPLICATE, CONFLICT, REPLAYED, REJECTED.",
    *(*_STREAM, "status"),
    by=_GATEWAY,
)
INGEST_BYTES = _counter(
    "pik_ingest_bytes_total", "Bytes of the bodies whose events were answered.", *_STREAM, by=_GATEWAY
)
INGEST_LATENESS = _histogram(
    "pik_ingest_lateness_seconds",
    "Ingest time minus event time of first arrivals (ACCEPTED, RECORDED); 0 where that is negative.",
    *_STREAM,
    buckets=_LATENESS,
    by=_GATEWAY,
)
INGEST_WAITING = _gauge("pik_ingest_waiting_events", "Events taken and not answered yet.", by=_GATEWAY)
INGEST_HELD = _gauge("pik_ingest_held_bytes", "Bytes of the bodies of requests under way.", by=_GATEWAY)
INGEST_STREAMS = _gauge(
    "pik_ingest_streams",
    "CaptureStreams that this gateway knows, by state: Open, Suspended, Disabled, NotReady.",
    "state",
    by=_GATEWAY,
)
INGEST_CALLERS = _counter(
    "pik_ingest_callers_total",
    "Requests that had to say who sends them. type: TokenReview, Token; result: Allowed, Unauthenticated, "
    "Forbidden, Undecided (neither the API server nor what is remembered could tell).",
    *("type", "result"),
    by=_GATEWAY,
)

METRICS: tuple[Metric, ...] = (
    *(BUILD_INFO, AWS_REQUESTS, AWS_RETRIES, AWS_DURATION, WATCH_RESTARTS),
    *(RECONCILES, RECONCILE_DURATION),
    *(QUEUE_DEPTH, QUEUE_ADDS, QUEUE_WAIT, QUEUE_RUNNING, QUEUE_LONGEST),
    *(LEADER, OBJECTS, STALLED),
    *(STREAM_EVENTS, STREAM_DUPLICATES, STREAM_CONFLICTS, STREAM_LAST_INGEST, STREAM_DRIFT),
    *(STREAM_ORPHANS, STREAM_UNREADABLE, STREAM_SEALS, STREAM_SEALED, STREAM_SEALS_BROKEN),
    *(REPLAY_EVENTS, REPLAY_BYTES, REPLAY_RUNS, REPLAY_REMAINING, REPLAY_CHECKPOINT, AGGREGATES),
    *(INGEST_REQUESTS, INGEST_DURATION, INGEST_EVENTS, INGEST_BYTES, INGEST_LATENESS),
    *(INGEST_WAITING, INGEST_HELD, INGEST_STREAMS, INGEST_CALLERS),
)


def metrics_of(process: Process) -> Iterator[Metric]:
    return (metric for metric in METRICS if process in metric.by)
