"""What is exported is what the table says, and counts what happened once."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pik.api.conditions import ConditionType, Reason, with_condition
from pik.api.kinds import KINDS, AnyResource
from pik.aws.observing import CallResult
from pik.cluster.metrics import names
from pik.cluster.metrics.ingest import IngestMetrics
from pik.cluster.metrics.names import METRICS, Metric, MetricType, Process, metrics_of
from pik.cluster.metrics.registry import process_registry, read
from pik.cluster.observing import OperatorObserver
from pik.controller.objects import ObjectKey
from pik.controller.outcome import AnyStatus, Done, Outcome, Retry, Waiting
from pik.controller.queue import WorkQueue
from pik.domain.instants import parse_instant
from pik.execution.capture.answers import Answer, Status
from pik.memory.system import ManualClock, SeededEntropy

NOW = parse_instant("2026-03-01T12:00:00Z")
STREAM = ObjectKey("CaptureStream", "shop", "orders")
SPECS: dict[str, dict[str, Any]] = {
    "CaptureStream": {"storage": {"prefix": "p"}},
    "ReplayJob": {
        "streamRef": {"name": "orders"},
        "select": {"window": {"from": "2026-02-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}},
        "target": {"type": "HTTP", "http": {"url": "https://example.org/x"}},
    },
}


def resource(kind: str, name: str, status: dict[str, Any] | None = None) -> AnyResource:
    meta = {"namespace": "shop", "name": name, "uid": "u", "generation": 1}
    return KINDS[kind].from_manifest({"metadata": meta, "spec": SPECS[kind], "status": status or {}})


def conditions(*told: tuple[ConditionType, bool, Reason]) -> list[dict[str, Any]]:
    found: tuple[Any, ...] = ()
    for kind, holds, reason in told:
        found = with_condition(found, kind, holds, reason, "", generation=1, now=NOW)
    return [condition.to_manifest() for condition in found]


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.registry = process_registry("1.2.3")
        self.observer = OperatorObserver(self.registry, self.clock, SeededEntropy(1))

    def passes(self, before: AnyResource, after: AnyResource, outcome: Outcome) -> AnyResource:
        status: AnyStatus = after.status
        self.observer.passed(before, status, outcome)
        return after

    def value(self, metric: Metric, *labels: str, suffix: str = "") -> float | None:
        return self.registry.get_sample_value(
            f"{metric.name}{suffix}", dict(zip(metric.labels, labels, strict=True))
        )

    def samples(self, metric: Metric) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels[label] for label in metric.labels): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == metric.name
        }


def full(process: Process) -> CollectorRegistry:
    """All that a process exports, from the parts that it is made of."""
    clock = ManualClock(NOW)
    registry = process_registry("1.2.3")
    if process is Process.OPERATOR:
        observer = OperatorObserver(registry, clock, SeededEntropy(1))
        observer.queue.watch(WorkQueue(clock))
        observer.leading(lambda: True, dict)
    else:
        from pik.cluster.metrics.aws import AwsMetrics

        AwsMetrics(registry)
        read(registry, names.WATCH_RESTARTS, dict)
        IngestMetrics(registry).watch(lambda: 0, lambda: 0, dict)
    return registry


@pytest.mark.parametrize("process", Process)
def test_a_process_exports_what_the_table_says_and_nothing_else(process: Process) -> None:
    exported = {
        (
            f"{family.name}_total" if family.type == "counter" else family.name,
            family.type,
            family.documentation,
        )
        for family in full(process).collect()
        if family.name.startswith("pik_")
    }
    assert exported == {(metric.name, metric.type.value, metric.help) for metric in metrics_of(process)}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_and_texts_are_as_prometheus_wants_them(metric: Metric) -> None:
    assert re.fullmatch(r"pik(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.type is MetricType.COUNTER)
    assert metric.help.endswith(".")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert bool(metric.buckets) == (metric.type is MetricType.HISTOGRAM)
    assert not {"le", "quantile", "job", "instance"} & set(metric.labels)
    for unit in ("milliseconds", "_ms", "kilobytes", "_minutes"):
        assert unit not in metric.name
    if metric.type is MetricType.HISTOGRAM:
        assert metric.name.endswith("_seconds")


def test_every_metric_has_a_name_of_its_own_and_somebody_exports_it() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.by for metric in METRICS)
    assert {id(value) for value in vars(names).values() if isinstance(value, Metric)} == set(map(id, METRICS))


def test_no_series_says_when_another_was_created() -> None:
    bench = Bench()
    bench.observer.queue.taken(1.0)
    bench.passes(resource("CaptureStream", "orders"), resource("CaptureStream", "orders"), DONE)
    assert b"_created" not in generate_latest(bench.registry)


DONE = Done(Reason.PROVISIONED)


def test_passes_by_what_they_came_to() -> None:
    bench = Bench()
    stream = resource("CaptureStream", "orders")
    with bench.observer.passing(STREAM, 1):
        bench.clock.advance(2)
        bench.passes(stream, stream, DONE)
    for outcome in (DONE, Retry(Reason.AWS_UNAVAILABLE, "away"), Waiting(Reason.SUSPENDED)):
        bench.passes(stream, stream, outcome)
    bench.observer.unwritten(STREAM)
    assert bench.samples(names.RECONCILES) == {
        ("CaptureStream", "Done", "Provisioned"): 2,
        ("CaptureStream", "Retry", "AWSUnavailable"): 1,
        ("CaptureStream", "Waiting", "Suspended"): 1,
        ("CaptureStream", "Unwritten", "Unwritten"): 1,
    }
    assert bench.value(names.RECONCILE_DURATION, "CaptureStream", suffix="_sum") == 2.0


def test_objects_by_their_reason_and_each_that_is_stalled() -> None:
    bench = Bench()
    ready = {"conditions": conditions((ConditionType.READY, True, Reason.PROVISIONED))}
    lost = {
        "conditions": conditions(
            (ConditionType.READY, False, Reason.DATA_LOST), (ConditionType.STALLED, True, Reason.DATA_LOST)
        )
    }
    shown = {"conditions": conditions((ConditionType.COMPLETE, False, Reason.PLANNED))}
    for name, status in (("a", ready), ("b", ready), ("c", lost)):
        bench.passes(resource("CaptureStream", name), resource("CaptureStream", name, status), DONE)
    bench.passes(resource("ReplayJob", "r"), resource("ReplayJob", "r", shown), Waiting(Reason.PLANNED))
    assert bench.samples(names.OBJECTS) == {
        ("CaptureStream", "True", "Provisioned"): 2,
        ("CaptureStream", "False", "DataLost"): 1,
        ("ReplayJob", "Absent", "Planned"): 1,
    }
    assert bench.samples(names.STALLED) == {("CaptureStream", "shop", "c", "DataLost"): 1}
    bench.passes(resource("CaptureStream", "c", lost), resource("CaptureStream", "c", ready), DONE)
    assert bench.samples(names.STALLED) == {}
    bench.observer.gone(ObjectKey("CaptureStream", "shop", "a"))
    assert bench.samples(names.OBJECTS)["CaptureStream", "True", "Provisioned"] == 2


def test_a_streams_figures_go_with_it() -> None:
    bench = Bench()
    counted = {
        "counters": {
            "events": 7,
            "duplicates": 2,
            "conflicts": 1,
            "lastIngestTime": "2026-03-01T11:59:30.5Z",
            "observedTime": "2026-03-01T12:00:00Z",
        },
        "drift": [
            {"resource": "b", "field": "versioning", "action": "Repaired", "time": "2026-03-01T12:00:00Z"}
        ],
    }
    after = resource("CaptureStream", "orders", counted)
    bench.passes(resource("CaptureStream", "orders"), after, DONE)
    bench.passes(after, after, DONE)
    bench.observer.streams.swept(STREAM, 3, 1)
    bench.observer.streams.sealed(STREAM, 1, 40)
    bench.observer.streams.seal_broken(STREAM)
    orders = ("shop", "orders")
    for metric, value in (
        (names.STREAM_EVENTS, 7),
        (names.STREAM_DUPLICATES, 2),
        (names.STREAM_CONFLICTS, 1),
        (names.STREAM_LAST_INGEST, NOW.micros / 1e6 - 29.5),
        (names.STREAM_ORPHANS, 3),
        (names.STREAM_UNREADABLE, 1),
        (names.STREAM_SEALS, 1),
        (names.STREAM_SEALED, 40),
        (names.STREAM_SEALS_BROKEN, 1),
    ):
        assert bench.samples(metric) == {orders: value}, metric.name
    assert bench.samples(names.STREAM_DRIFT) == {(*orders, "Repaired"): 1}
    bench.observer.gone(STREAM)
    assert b'name="orders"' not in generate_latest(bench.registry)


def replay(sent: int | None, *, run: str = "r1", ended: bool = False) -> AnyResource:
    if sent is None:
        return resource("ReplayJob", "again")
    status: dict[str, Any] = {
        "run": {"id": run, "key": "1", "startTime": "2026-03-01T12:00:00Z"},
        "plan": {"hash": "a" * 64, "asOf": "2026-03-01T12:00:00Z", "matched": 100},
        "progress": {"sent": sent, "failed": sent // 10, "bytes": sent * 5},
    }
    if ended:
        status["run"]["completionTime"] = "2026-03-01T12:05:00Z"
        status["conditions"] = conditions((ConditionType.COMPLETE, True, Reason.SUCCEEDED))
    return resource("ReplayJob", "again", status)


def test_what_a_run_sends_is_counted_as_it_is_sent() -> None:
    bench = Bench()
    running = Waiting(Reason.RUNNING)
    last = bench.passes(replay(None), replay(0), running)
    assert bench.samples(names.REPLAY_REMAINING) == {("shop", "again"): 100}
    last = bench.passes(last, replay(30), running)
    last = bench.passes(last, replay(30), running)
    assert bench.samples(names.REPLAY_REMAINING) == {("shop", "again"): 67}
    assert bench.samples(names.REPLAY_CHECKPOINT) == {("shop", "again"): NOW.micros / 1e6}
    last = bench.passes(last, replay(90, ended=True), Done(Reason.SUCCEEDED))
    bench.passes(last, last, Done(Reason.SUCCEEDED))
    assert bench.samples(names.REPLAY_EVENTS) == {
        ("shop", "sent"): 90,
        ("shop", "failed"): 9,
        ("shop", "held"): 0,
    }
    assert bench.samples(names.REPLAY_BYTES) == {("shop",): 450}
    assert bench.samples(names.REPLAY_RUNS) == {("shop", "Succeeded"): 1}
    assert bench.samples(names.REPLAY_REMAINING) == {}


def test_a_run_that_is_found_on_record_is_not_counted_again() -> None:
    bench = Bench()
    bench.passes(replay(None), replay(90, ended=True), Done(Reason.SUCCEEDED))  # made again without status
    bench.passes(replay(90, ended=True), replay(5, run="r2"), Waiting(Reason.RUNNING))  # another runKey
    assert sum(bench.samples(names.REPLAY_EVENTS).values()) == 0
    assert bench.samples(names.REPLAY_RUNS) == {}


def test_the_queue_is_looked_at_when_somebody_asks() -> None:
    bench = Bench()
    queue = WorkQueue(bench.clock, bench.observer.queue)
    bench.observer.queue.watch(queue)
    queue.add(STREAM)
    queue.add(STREAM)
    assert (bench.value(names.QUEUE_DEPTH), bench.value(names.QUEUE_ADDS)) == (1, 1)
    assert (bench.value(names.QUEUE_RUNNING), bench.value(names.QUEUE_LONGEST)) == (0, 0)


def test_calls_of_aws() -> None:
    bench = Bench()
    bench.observer.aws.answered("s3", "PutObject", CallResult.UNMET, 0.2, 1)
    bench.observer.aws.answered("s3", "PutObject", CallResult.OK, 0.3, 2)
    assert bench.samples(names.AWS_REQUESTS) == {
        ("s3", "PutObject", "Unmet"): 1,
        ("s3", "PutObject", "OK"): 1,
    }
    assert bench.samples(names.AWS_RETRIES) == {("s3", "PutObject"): 1}
    assert bench.value(names.AWS_DURATION, "s3", "PutObject", suffix="_sum") == 0.5


def test_answers_and_lateness_of_a_batch() -> None:
    bench = Bench()
    ingest = IngestMetrics(bench.registry)
    orders = ("shop", "orders")
    ingest.took(
        orders,
        500,
        [
            Answer(Status.ACCEPTED, "a", ingest_lag_ms=1_000),
            Answer(Status.ACCEPTED, "b", ingest_lag_ms=1_001),
            Answer(Status.ACCEPTED, "c", ingest_lag_ms=-5_000),  # of the future
            Answer(Status.DUPLICATE, "a", ingest_lag_ms=9_000_000),
            Answer(Status.REPLAYED, "a", ingest_lag_ms=9_000_000),
            Answer(Status.REJECTED, reason="x"),
        ],
    )
    ingest.took(orders, 1, [Answer(Status.RECORDED, "d", ingest_lag_ms=10**12)])
    ingest.answered(orders, HTTPStatus.OK, 0.1)
    ingest.answered(None, HTTPStatus.NOT_FOUND, 0.1)
    assert bench.samples(names.INGEST_EVENTS) == {
        (*orders, "ACCEPTED"): 3,
        (*orders, "DUPLICATE"): 1,
        (*orders, "REPLAYED"): 1,
        (*orders, "REJECTED"): 1,
        (*orders, "RECORDED"): 1,
    }
    assert bench.samples(names.INGEST_BYTES) == {orders: 501}
    assert bench.samples(names.INGEST_REQUESTS) == {(*orders, "200"): 1, ("", "", "404"): 1}
    buckets = {
        sample.labels["le"]: sample.value
        for family in text_string_to_metric_families(generate_latest(bench.registry).decode())
        for sample in family.samples
        if sample.name == "pik_ingest_lateness_seconds_bucket"
    }
    assert (buckets["1.0"], buckets["10.0"], buckets["2.592e+06"], buckets["+Inf"]) == (2, 3, 3, 4)
    ingest.gone(orders)
    assert b'name="orders"' not in generate_latest(bench.registry)
