"""The commands one after the other on a folder, over the emulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pik.cli.main import pik

STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {{name: readings}}
spec:
  storage: {{prefix: readings, bucket: {{name: "{bucket}"}}}}
  mapping:
    source: {{value: sensors}}
    eventType: {{value: reading}}
    entityID: {{paths: [sensor]}}
    eventTime: {{paths: [at]}}
    idempotencyKey: {{join: {{paths: [sensor, at]}}}}
  expect: {{every: 1h, lateAfter: 1h}}
"""
HOURS = [hour for hour in range(24) if hour not in (5, 6)]


@pytest.fixture
def folder(tmp_path: Path, emulator: str, unique: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIK_DIR", str(tmp_path / "folder"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "stream.yaml").write_text(STREAM.format(bucket=unique.lower().replace("_", "-")))
    rows = [f"{sensor},2013-07-10T{hour:02}:00:00Z,{hour}" for sensor in "ab" for hour in HOURS]
    (tmp_path / "rows.csv").write_text("\n".join(["sensor,at,value", *rows, "a,yesterday,1"]))
    return tmp_path


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(pik, arguments)
    assert result.exit_code == code, result.output
    return result


def ask(*arguments: str, code: int = 0) -> Any:
    return json.loads(run(*arguments, "-o", "json", code=code).stdout)


def test_from_nothing_to_an_explained_event(folder: Path, emulator: str) -> None:
    run("up", str(folder / "folder"), "--once")
    [stream] = ask("get", "cst")["items"]
    assert stream["status"]["streamID"]

    taken = ask("import", "rows.csv", "--stream", "readings", code=1)
    assert (taken["answers"]["ACCEPTED"], taken["answers"]["REJECTED"]) == (2 * len(HOURS), 1)
    again = ask("import", "rows.csv", "--stream", "readings", code=1)
    assert again["answers"]["DUPLICATE"] == 2 * len(HOURS)

    gaps = ask("inspect", "gaps", "readings")
    assert gaps["summary"]["missing"] == 4
    [incident] = gaps["sections"]["incidents"]
    assert (incident["keys"], incident["first"]) == (["a", "b"], "2013-07-10T05:00:00.000000Z")
    assert ask("inspect", "duplicates", "readings")["summary"]["duplicates"] == 2 * len(HOURS)

    assert ask("seal", "readings", "--settle", "0")
    assert ask("reindex", "readings")["events"] == 2 * len(HOURS)
    verified = ask("verify", "readings")
    assert verified["ok"]
    assert verified["checked"]["rows"] == 4 * len(HOURS)

    [late, *_] = ask("inspect", "late", "readings")["sections"]["latest"]
    explained = ask("explain", late["event_id"][:20])
    assert [arrival["part"] for arrival in explained["arrivals"]] == ["event", "duplicate"]
    assert json.loads(explained["arrivals"][0]["payload"])["sensor"] == late["entity_id"]
    assert ask("runs") == []
