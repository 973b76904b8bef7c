"""`pik orphans`: what a deletion with Retain leaves, had again, or deleted by the commands that it prints."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pik.aws.clients import AwsAccess, AwsClients
from pik.cli.main import pik

STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {{name: {name}, namespace: team}}
spec: {{storage: {{prefix: a/b}}}}
"""


@pytest.fixture
def folder(tmp_path: Path, emulator: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIK_DIR", str(tmp_path))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)  # what is printed says where
    for name in ("things", "others"):
        (tmp_path / f"{name}.yaml").write_text(STREAM.format(name=name))
    run("up", str(tmp_path), "--once", "--endpoint-url", emulator)
    return tmp_path


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner(env={"COLUMNS": "120"}).invoke(pik, arguments)
    assert result.exit_code == code, result.output
    return result


def orphans() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("orphans", "-o", "json").stdout)["orphans"]
    return found


def aws(line: str, emulator: str) -> None:
    """Does what the AWS CLI would: its options are the operation's parameters."""
    program, service, *words = shlex.split(line)
    assert program == "aws"
    options = {"region": words[1], "endpoint": words[3]}
    assert words[0:4:2] == ["--region", "--endpoint-url"]
    assert options["endpoint"] == emulator
    operation, *given = words[4:]
    client: Any = AwsClients(AwsAccess(endpoint_url=emulator, region=options["region"])).client(service)  # type: ignore[call-overload]
    known = client.meta.service_model.operation_model(
        "".join(map(str.capitalize, operation.split("-")))
    ).input_shape.members
    request: dict[str, Any] = {}
    while given:
        word = given.pop(0).removeprefix("--")
        flag = word.startswith("no-")
        name = "".join(map(str.capitalize, word.removeprefix("no-").split("-")))
        assert name in known
        request[name] = False if flag else given.pop(0)
    getattr(client, operation.replace("-", "_"))(**request)


@pytest.mark.emulator
def test_what_a_deleted_stream_leaves(folder: Path, emulator: str) -> None:
    assert run("orphans").stdout.startswith("No orphans of cluster local-")
    stream_id = json.loads(run("get", "cst", "things", "-o", "json").stdout)["status"]["streamID"]
    (folder / "things.yaml").unlink()
    run("up", str(folder), "--once", "--endpoint-url", emulator)

    bucket, table = orphans()
    assert [one["kind"] for one in (bucket, table)] == ["Bucket", "Table"]
    for one in (bucket, table):
        assert (one["owner"], one["why"], one["streams"]) == ("team/things", "Gone", [stream_id])
        assert one["created"].startswith("20")
    assert (bucket["prefixes"], table["entries"] is not None) == (["a/b/"], True)
    page = run("orphans").stdout
    assert page.startswith("1 bucket and 1 table of cluster local-")
    assert "2 buckets and tables in use." in page.replace("\n", " ")
    assert "apply CaptureStream things as it was, storage.prefix a/b" in page
    for command in (*bucket["delete"], *table["delete"]):
        assert f"  {command}\n" in page  # whole, however long

    # had again: the same stream, and nothing is left over
    (folder / "things.yaml").write_text(STREAM.format(name="things"))
    run("up", str(folder), "--once", "--endpoint-url", emulator)
    assert orphans() == []
    again = json.loads(run("get", "cst", "things", "-o", "json").stdout)
    assert again["status"]["streamID"] == stream_id


@pytest.mark.emulator
def test_what_is_printed_deletes_it(folder: Path, emulator: str) -> None:
    (folder / "things.yaml").unlink()
    run("up", str(folder), "--once", "--endpoint-url", emulator)
    bucket, table = orphans()
    for line in table["delete"]:
        aws(line, emulator)
    assert [one["kind"] for one in orphans()] == ["Bucket"]
    (line,) = bucket["delete"]
    program, *words = shlex.split(line)
    assert program == "python3"
    account = {"AWS_ACCESS_KEY_ID": "000000000000", "AWS_SECRET_ACCESS_KEY": "none"}
    subprocess.run([sys.executable, *words], check=True, env={**os.environ, **account})
    assert orphans() == []
