"""Alerts and the dashboard ask for what is exported, by labels that it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from chart.rendering import CHART, Renderer, named, of_kind
from docs.pages import DOCS
from pik.cluster.metrics.names import METRICS

SERIES = {series: metric for metric in METRICS for series in metric.series()}
_PROMETHEUS = {"process_resident_memory_bytes"}
_NAME = re.compile(r"\b(?:pik|process)_[a-z_]+")
_SELECTED = re.compile(r"\b(pik_[a-z_]+)\{([^}]*)\}")
_BY = re.compile(r"(?:by|on)\s*\(([^)]*)\)")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_TARGET = {"pod", "le"}  # of whoever scrapes, of a histogram


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CHART / "files" / "dashboard.json").read_text())
    return read


def queries() -> Iterator[str]:
    for rule in alerts():
        yield rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]


@pytest.mark.parametrize("query", list(queries()))
def test_every_query_is_of_exported_series_and_of_their_labels(query: str) -> None:
    names = set(_NAME.findall(query))
    assert names
    assert names - _PROMETHEUS <= SERIES.keys()
    labels = {label for name in names & SERIES.keys() for label in SERIES[name].labels} | _TARGET
    for name, selector in _SELECTED.findall(query):
        assert set(_LABEL.findall(selector)) <= {*SERIES[name].labels}, name
    for listed in _BY.findall(query):
        assert {label.strip() for label in listed.split(",") if label.strip()} <= labels


def test_annotations_name_labels_that_their_alert_has() -> None:
    for rule in alerts():
        kept = {label.strip() for listed in _BY.findall(rule["expr"]) for label in listed.split(",")}
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert used <= kept, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_every_metric_of_the_processes_is_on_the_dashboard_or_not_wanted_there() -> None:
    shown = {name for query in queries() for name in _NAME.findall(query)}
    unseen = {metric.name for metric in METRICS if not shown & set(metric.series())}
    assert (
        unseen
        == {
            "pik_workqueue_adds_total",
            "pik_stream_events",
            "pik_stream_orphans_indexed_total",
            "pik_stream_seals_total",
            "pik_replay_bytes_total",
            "pik_ingest_bytes_total",
            "pik_ingest_streams",
        }
        - shown
    )


def test_rendered_they_are_what_the_files_say(render: Renderer) -> None:
    manifests = render("full")
    rule = named(manifests, "PrometheusRule", "capture")
    assert rule["spec"]["groups"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    held = named(manifests, "ConfigMap", "capture-dashboard")
    assert json.loads(held["data"]["pik.json"]) == dashboard()
    monitors = of_kind(manifests, "ServiceMonitor")
    services = of_kind(manifests, "Service")
    for monitor in monitors:
        labels = monitor["spec"]["selector"]["matchLabels"]
        (endpoint,) = monitor["spec"]["endpoints"]
        found = [
            one
            for one in services
            if labels.items() <= one["metadata"]["labels"].items()
            and endpoint["port"] in {port["name"] for port in one["spec"]["ports"]}
        ]
        assert len(found) == 1
        assert endpoint["honorLabels"], "namespace and name are labels of pik's own"
    assert len(monitors) == 2


def test_every_alert_is_on_the_page_about_monitoring() -> None:
    page = (DOCS / "monitoring.md").read_text()
    told = set(re.findall(r"^\| `(Pik\w+)` \|", page, re.MULTILINE))
    assert told == {rule["alert"] for rule in alerts()}
