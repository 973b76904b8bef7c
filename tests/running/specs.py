"""The objects of the campaign, and what their statuses say."""

from __future__ import annotations

from pik.cluster.api import Object

EVENTS = 240  # of each source
SOURCES = ("source-0", "source-1")
_WINDOW = {"from": "2026-02-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}


def stream_spec(name: str, policy: str = "Retain") -> Object:
    return {"storage": {"prefix": name, "deletionPolicy": policy}, "ingest": {"gateway": "Disabled"}}


def job_spec(source: str, queue: str) -> Object:
    return {
        "streamRef": {"name": source},
        "select": {"window": _WINDOW},
        "target": {"type": "SQS", "sqs": {"queueURL": queue}},
        "mode": "Run",
        "pace": {"eventsPerSecond": 60},  # four seconds, so that a kill is likely to meet it
        "onStale": "Send",
    }


def version_spec(source: str) -> Object:
    return {
        "streamRef": {"name": source},
        "window": _WINDOW,
        "bucket": "Window",
        "measures": [{"name": "events", "expression": "count(*)"}],
    }


def is_true(given: Object, kind: str) -> bool:
    conditions = given.get("status", {}).get("conditions", [])
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def is_settled(given: Object) -> bool:
    """As kstatus has it: the newest generation was seen, and nothing goes on."""
    status = given.get("status", {})
    return status.get("observedGeneration") == given["metadata"]["generation"] and not is_true(
        given, "Reconciling"
    )
