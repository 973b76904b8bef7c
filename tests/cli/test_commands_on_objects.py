"""`pik replay`, `suspend`, `resume`, `status` and `wait`, over a folder's state."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from local.folders import STREAM, THINGS, Folder
from pik.api.common import StatusCondition
from pik.api.manifests import load_text
from pik.api.stream_status import CaptureStreamStatus
from pik.api.validation import admit
from pik.cli.main import pik

WINDOW = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.write(STREAM)
    made.objects.sync()
    return made


def run(folder: Folder, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(pik, ["-C", str(folder.path), *arguments])
    assert result.exit_code == code, result.output
    return result


def printed(folder: Folder, *arguments: str) -> dict[str, Any]:
    text = run(folder, "replay", "things", "--name", "again", *WINDOW, *arguments, "--print").output
    (manifest,) = load_text(text)
    admit(manifest.value)
    return dict(yaml.safe_load(text)["spec"])


def test_a_replay_is_what_was_given_and_the_defaults(folder: Folder) -> None:
    spec = printed(folder, "--to-http", "http://127.0.0.1:1/x")
    assert spec == {
        "streamRef": {"name": "things"},
        "select": {"window": {"from": "2026-01-01T00:00:00.000000Z", "to": "2026-01-02T00:00:00.000000Z"}},
        "target": {"type": "HTTP", "http": {"url": "http://127.0.0.1:1/x"}},
    }


def test_a_replay_with_everything(folder: Folder) -> None:
    more = ("--entity", "a", "--entity", "b", "--source", "s", "--type", "t", "--where", "payload.x > 1")
    how = (
        "--limit",
        "5",
        "--duplicates",
        "all",
        "--shards",
        "2",
        "--on-stale",
        "send",
        "--rate",
        "7",
        "--run",
    )
    spec = printed(folder, "--to-s3", "s3://bucket-name/some/where", *more, *how)
    assert spec["select"]["entities"] == ["a", "b"]
    assert spec["select"]["duplicates"] == "All"
    assert spec["target"] == {"type": "S3", "s3": {"bucket": "bucket-name", "prefix": "some/where"}}
    assert (spec["mode"], spec["shards"], spec["parallelism"]) == ("Run", 2, 2)
    assert spec["pace"] == {"eventsPerSecond": 7}


FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:f"
BUS = "arn:aws:events:eu-west-1:123456789012:event-bus/b"
ARNS = "arn:aws:kinesis:eu-west-1:123456789012:stream/s"


@pytest.mark.parametrize(
    ("option", "value", "target"),
    [
        ("--to-queue", "https://h/1/q", {"type": "SQS", "sqs": {"queueURL": "https://h/1/q"}}),
        ("--to-kinesis", "s", {"type": "Kinesis", "kinesis": {"streamName": "s"}}),
        ("--to-kinesis", ARNS, {"type": "Kinesis", "kinesis": {"streamARN": ARNS}}),
        ("--to-lambda", "f:live", {"type": "Lambda", "lambda": {"functionName": "f:live"}}),
        ("--to-lambda", FUNCTION, {"type": "Lambda", "lambda": {"functionARN": FUNCTION}}),
        ("--to-event-bus", "b", {"type": "EventBridge", "eventBridge": {"eventBusName": "b"}}),
        ("--to-event-bus", BUS, {"type": "EventBridge", "eventBridge": {"eventBusARN": BUS}}),
    ],
)
def test_a_replay_to_each_target(folder: Folder, option: str, value: str, target: dict[str, Any]) -> None:
    assert printed(folder, option, value)["target"] == target


def test_a_replay_has_one_target(folder: Folder) -> None:
    told = run(folder, "replay", "things", "--name", "n", *WINDOW, code=2).output
    assert "--to-http" in told
    assert "--to-kinesis" in told
    run(folder, "replay", "things", "--name", "n", *WINDOW, "--to-s3", "bucket", code=2)


def test_a_replay_is_applied(folder: Folder) -> None:
    run(folder, "replay", "things", "--name", "again", *WINDOW, "--to-http", "http://127.0.0.1:1/x")
    synced = folder.objects.sync()
    assert [key.name for key in synced.changed] == ["again"]


def test_suspended_and_resumed_whatever_the_manifest_says(folder: Folder) -> None:
    run(folder, "suspend", "capturestream", "things")
    folder.objects.sync()
    assert folder.objects.find(THINGS).spec.suspend  # type: ignore[union-attr]
    run(folder, "resume", "cst", "things")
    folder.write(STREAM + "  suspend: true\n")
    folder.objects.sync()
    assert not folder.objects.find(THINGS).spec.suspend  # type: ignore[union-attr]
    assert run(folder, "suspend", "cst", "nothing", code=1).output.startswith("error: ")


def test_status(folder: Folder) -> None:
    found = json.loads(run(folder, "status", "-o", "json").output)
    assert (found["running"], found["objects"], found["good"]) == (False, 1, 0)
    with folder.state.locked():
        assert run(folder, "status").exit_code == 0
    (folder.path / "elsewhere").mkdir()
    other = CliRunner().invoke(pik, ["-C", str(folder.path / "elsewhere"), "status"])
    assert (other.exit_code, other.output[:6]) == (1, "error:")


def test_wait(folder: Folder) -> None:
    waited = run(folder, "wait", "cst", "things", "--for", "condition=Ready", "--timeout", "0", code=1)
    assert "nothing has looked at it yet" in waited.output
    ready = StatusCondition(
        type="Ready", status="False", lastTransitionTime="2026-01-01T00:00:00Z", reason="R", message="m"
    )
    resource = folder.objects.find(THINGS)
    assert resource is not None
    asyncio.run(folder.objects.write_status(resource, CaptureStreamStatus(conditions=(ready,))))
    waited = run(folder, "wait", "cst", "things", "--for", "condition=ready", "--timeout", "0", code=1)
    assert "Ready is False (R)" in waited.output
    run(folder, "wait", "cst", "things", "--for", "condition=Ready=False", "--timeout", "0")
    run(folder, "wait", "cst", "others", "--for", "delete", "--timeout", "0")
    run(folder, "wait", "cst", "things", "--for", "delete", "--timeout", "0", code=1)
    run(folder, "wait", "cst", "things", "--for", "Ready", code=2)
