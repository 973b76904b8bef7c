"""The verdict of local mode on the table."""

from __future__ import annotations

from typing import Any

import pytest

from api.table import Case, bad, base, good, patched, texts, updates
from pik.api.common import seconds_of
from pik.api.manifests import UnreadableManifest, load_path
from pik.api.validation import admit
from pik.api.violations import InvalidManifest, Violation


def verdict(case: Case) -> list[Violation]:
    """The violations; none: admitted."""
    old = None
    if case.old is not None:
        old = {**admit(case.old).manifest}
        if "status" in case.old:
            old["status"] = case.old["status"]
    try:
        admit(case.manifest, old)
    except InvalidManifest as refusal:
        return list(refusal.violations)
    return []


def named(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


@named(good())
def test_good_manifests_are_admitted(case: Case) -> None:
    assert verdict(case) == []


@named([*bad(), *(case for case in updates() if case.path is not None)])
def test_bad_manifests_are_refused_with_field_and_message(case: Case) -> None:
    said = verdict(case)
    assert any(v.path == case.path and case.message in v.message for v in said), [str(v) for v in said]


@named([case for case in updates() if case.path is None])
def test_changes_that_may_be_made_are_admitted(case: Case) -> None:
    assert verdict(case) == []


def test_the_table_is_as_large_as_it_should_be_and_names_each_case_once() -> None:
    names = [case.name for case in [*good(), *bad(), *updates()]]
    assert len(bad()) >= 60
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("file", "expected"), texts(), ids=[file.stem for file, _ in texts()])
def test_unreadable_files_are_refused_with_file_and_line(file: Any, expected: str) -> None:
    with pytest.raises(UnreadableManifest) as refusal:
        load_path(file)
    assert str(refusal.value).startswith(f"{file}:{expected}")


def test_every_violation_is_told_at_once() -> None:
    manifest = patched(
        base("replay-job"),
        {"spec": {"parallelism": 2, "shard": 3, "pace": {}, "onError": {"action": "DeadLetter"}}},
    )
    paths = {violation.path for violation in verdict(Case("many", manifest))}
    assert paths == {"spec.shard", "spec.parallelism", "spec.pace", "spec.onError.deadLetter"}


def test_a_misspelt_field_is_told_with_what_may_have_been_meant() -> None:
    manifest = patched(base("replay-job"), {"spec": {"shard": 2}})
    with pytest.raises(
        InvalidManifest, match=r'spec.shard: unknown field "spec.shard" \(did you mean shards\?\)'
    ):
        admit(manifest)


def test_defaults_are_those_of_the_design() -> None:
    stream = admit(base("capture-stream")).manifest["spec"]
    assert stream == {
        "storage": {
            "bucket": {"origin": "Create"},
            "prefix": "flights",
            "encryption": {"type": "S3Managed"},
            "deletionPolicy": "Retain",
        },
        "index": {"pointInTimeRecovery": "Enabled", "deduplication": "OnWrite", "writes": "Statements"},
        "ingest": {
            "gateway": "Enabled",
            "maxEventBytes": 262_144,
            "maxBatchBytes": 10_485_760,
            "auth": {"type": "None"},
        },
        "access": {"from": "Same"},
        "replayPolicy": {"approval": "None"},
        "driftPolicy": "Repair",
        "suspend": False,
    }
    job = admit(base("replay-job")).manifest["spec"]
    assert job == {
        "streamRef": {"name": "flights"},
        "select": {
            "window": {"field": "EventTime", "from": "2013-07-10T04:00:00Z", "to": "2013-07-11T04:00:00Z"},
            "duplicates": "First",
        },
        "target": {"type": "HTTP", "http": {"url": "http://127.0.0.1:8080/flights"}},
        "order": "EntityTime",
        "shards": 1,
        "onError": {"action": "Stop"},
        "onStale": "Fail",
        "retriesPerShard": 6,
        "verifyTarget": "Disabled",
        "runKey": "1",
        "mode": "DryRun",
        "parallelism": 1,
    }
    version = admit(base("aggregate-version")).manifest["spec"]
    assert {name: version[name] for name in ("timezone", "knownBy", "engine", "suspend")} == {
        "timezone": "UTC",
        "knownBy": "IngestTime",
        "engine": "DuckDB",
        "suspend": False,
    }
    assert {"groupBy", "where", "asOf", "compareTo", "execution"}.isdisjoint(version)


@named(good())
def test_the_typed_object_says_what_the_manifest_says(case: Case) -> None:
    admitted = admit(case.manifest)
    assert admitted.resource.spec.to_manifest() == admitted.manifest["spec"]
    assert admitted.resource.metadata.name == case.manifest["metadata"]["name"]
    assert admitted.manifest["metadata"]["namespace"] == case.manifest["metadata"].get("namespace", "default")


def test_a_null_is_an_absent_field_and_gets_its_default() -> None:
    (case,) = (case for case in good() if case.name == "nulls")
    spec = admit(case.manifest).manifest["spec"]
    assert (spec["shards"], spec["onError"], spec["select"]["window"]["field"]) == (
        1,
        {"action": "Stop"},
        "EventTime",
    )
    assert "pace" not in spec
    assert "sqs" not in spec["target"]


def test_the_status_of_a_manifest_does_not_count() -> None:
    stored = {**admit(base("capture-stream")).manifest, "status": {"streamID": "s"}}
    assert "status" not in admit({**base("capture-stream"), "status": {"streamID": "forged"}}).manifest
    changed = admit({**base("capture-stream"), "status": {"streamID": "forged"}}, stored)
    assert changed.manifest["status"] == {"streamID": "s"}
    assert changed.resource.status.to_manifest()["streamID"] == "s"


def test_admission_changes_neither_manifest_nor_schema() -> None:
    manifest = base("capture-stream")
    before = base("capture-stream")
    admit(manifest).manifest["spec"]["storage"]["bucket"]["name"] = "changed"
    assert manifest == before
    assert "name" not in admit(manifest).manifest["spec"]["storage"]["bucket"]


def test_of_a_text_that_is_too_long_nothing_more_is_said() -> None:
    manifest = patched(base("replay-job"), {"spec": {"streamRef": {"name": {"$repeat": ["A", 254]}}}})
    said = [v.message for v in verdict(Case("long", manifest)) if v.path == "spec.streamRef.name"]
    assert said == ["Too long: may not be more than 253 bytes"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h30m", 5400), ("90s", 90), ("0h15m0s", 900), ("999999h", 3599996400)]
)
def test_durations_are_hours_minutes_and_seconds(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1d", "30m1h", "h", "90"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not hours, minutes and seconds"):
        seconds_of(text)
