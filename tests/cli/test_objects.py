"""`pik get`, `describe`, `apply`, `approve` and `delete`, over a folder's state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pik.cli.main import pik
from pik.domain.instants import Instant
from pik.local.objects import FolderObjects
from pik.local.state import State
from pik.memory.system import ManualClock, SeededEntropy

STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {name: things}
spec:
  storage: {prefix: things}
"""
JOB = """
apiVersion: pik.dev/v1alpha1
kind: ReplayJob
metadata: {name: again}
spec:
  streamRef: {name: things}
  select: {window: {from: "2013-07-10T04:00:00Z", to: "2013-07-11T04:00:00Z"}}
  target: {type: HTTP, http: {url: "http://127.0.0.1:1/x"}}
"""
PLAN = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Declares a stream; local mode has looked at it once."""
    (tmp_path / "things.yaml").write_text(STREAM)
    synced(tmp_path)
    return tmp_path


def synced(folder: Path) -> FolderObjects:
    """What `pik up` does with a folder at every look."""
    state = State(folder)
    state.create()
    objects = FolderObjects(
        state, ManualClock(Instant(1_764_000_000_000_000)), SeededEntropy(1), changed=lambda _: None
    )
    objects.sync()
    return objects


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(pik, [*arguments, "-C", str(folder)])


def applied(folder: Path, text: str) -> Result:
    path = folder / ".pik" / "given.yml"
    path.write_text(text)
    return run(folder, "apply", "-f", str(path))


@pytest.mark.parametrize("kind", ["capturestream", "capturestreams", "cst", "CaptureStream"])
def test_a_kind_has_many_names(folder: Path, kind: str) -> None:
    result = run(folder, "get", kind)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].split()[:2] == ["default", "things"]
    [item] = json.loads(run(folder, "get", kind, "-o", "json").stdout)["items"]
    assert item["spec"]["storage"]["prefix"] == "things"
    one = json.loads(run(folder, "get", kind, "default/things", "-o", "json").stdout)
    assert one == item


def test_what_is_not_there_is_an_error(folder: Path) -> None:
    assert run(folder, "get", "cst", "nothing").stderr == (
        f"error: there is no CaptureStream nothing in the folder {folder} (there is: default/things)\n"
    )
    assert run(folder, "get", "pods").exit_code == 2
    assert run(folder, "get", "rj").stdout == f"no objects in the folder {folder}\n"


def test_describe_shows_spec_and_source(folder: Path) -> None:
    result = run(folder, "describe", "cst", "things")
    assert result.exit_code == 0, result.output
    assert "declared in" in result.stdout
    assert "prefix: things" in result.stdout


def test_apply_creates_changes_and_leaves_alone(folder: Path) -> None:
    assert applied(folder, JOB).stdout == "ReplayJob default/again created\n"
    synced(folder)
    assert applied(folder, JOB).stdout == "ReplayJob default/again unchanged\n"
    assert applied(folder, JOB.replace("spec:", "spec:\n  suspend: true")).stdout.endswith("configured\n")
    synced(folder)
    assert json.loads(run(folder, "get", "rj", "again", "-o", "json").stdout)["spec"]["suspend"] is True


def test_what_is_refused_is_said_with_file_and_line(folder: Path) -> None:
    result = applied(folder, JOB.replace("http://127", "ftp://127"))
    assert result.exit_code == 1
    assert "given.yml:" in result.stderr
    assert "spec.target.http.url" in result.stderr
    assert not list((folder / ".pik" / "applied").iterdir())


def test_what_the_folder_declares_is_changed_there(folder: Path) -> None:
    for result in (applied(folder, STREAM), run(folder, "delete", "cst", "things")):
        assert result.exit_code == 1
        assert "is declared in" in result.stderr
        assert "things.yaml" in result.stderr


def test_delete_takes_back_what_was_applied(folder: Path) -> None:
    applied(folder, JOB)
    synced(folder)
    result = run(folder, "delete", "rj", "again")
    assert (result.exit_code, result.stdout) == (
        0,
        "ReplayJob default/again is deleted by the next `pik up`\n",
    )
    synced(folder)
    there = json.loads(run(folder, "get", "rj", "again", "-o", "json").stdout)
    assert "deletionTimestamp" in there["metadata"]


def planned(folder: Path) -> None:
    state = State(folder)
    [record] = [record for record in state.records() if record.key.kind == "ReplayJob"]
    record.manifest["status"] = {"plan": {"hash": PLAN, "asOf": "2025-11-24T10:00:00Z", "matched": 1}}
    state.put(record)


def test_a_shown_plan_is_approved_over_what_the_manifest_says(folder: Path) -> None:
    applied(folder, JOB)
    synced(folder)
    assert "shows no plan yet" in run(folder, "approve", "again", "--by", "me").stderr
    planned(folder)
    nameless = run(folder, "approve", "again")
    assert (nameless.exit_code, "Missing option '--by'" in nameless.stderr) == (2, True)
    assert "look at it again" in run(folder, "approve", "again", "--by", "me", "--plan", "cd").stderr
    result = run(folder, "approve", "again", "--by", "me", "--plan", "abab")
    first, *what = result.stdout.splitlines()
    assert first == f"ReplayJob default/again: plan {PLAN[:12]} (1 event) approved by me"
    assert "  to     HTTP http://127.0.0.1:1/x" in what
    synced(folder)
    applied(folder, JOB.replace("spec:", "spec:\n  mode: Run"))
    synced(folder)
    spec = json.loads(run(folder, "get", "rj", "again", "-o", "json").stdout)["spec"]
    assert (spec["mode"], spec["approval"]) == ("Run", {"plan": PLAN, "by": "me"})
