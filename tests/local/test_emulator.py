"""The embedded emulator: installed apart, on loopback only, stopped by its pid."""

from __future__ import annotations

import os
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner

from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.index_items import SCHEMA
from pik.local import emulator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def python() -> Path:
    return emulator.install(emulator.cache_directory(os.environ))


@pytest.mark.loopback
def test_starts_on_loopback_and_stops(python: Path, tmp_path: Path) -> None:
    running = emulator.start(python, log=tmp_path / "log")
    try:
        assert running.endpoint.startswith("http://127.0.0.1:")
        assert emulator.is_healthy(running.endpoint)
    finally:
        emulator.stop(running)
    assert not emulator.is_healthy(running.endpoint)
    emulator.stop(running)  # once more is fine


@pytest.mark.loopback
def test_takes_no_proxy_and_no_account_from_the_environment(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:1")
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    running = emulator.start(python, log=tmp_path / "log")
    try:
        theirs = Path(f"/proc/{running.pid}/environ")
        if theirs.exists():
            assert not {"HTTP_PROXY", "AWS_PROFILE", "PYTHONPATH"} & {
                line.partition("=")[0] for line in theirs.read_text().split("\0")
            }
        assert emulator.is_healthy(running.endpoint)
    finally:
        emulator.stop(running)


@pytest.mark.loopback
def test_says_what_it_printed_where_it_does_not_start(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no room left; exit 3\n")
    broken.chmod(0o700)
    with pytest.raises(emulator.EmulatorFailed, match="no room left"):
        emulator.start(broken, log=tmp_path / "log")


@pytest.mark.loopback
def test_by_hand(python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pik").mkdir()
    (tmp_path / "pik" / python.parents[1].name).symlink_to(python.parents[1])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    by_hand = CliRunner()
    assert by_hand.invoke(emulator.main, ["status"]).exit_code == 1
    started = by_hand.invoke(emulator.main, ["start"])
    try:
        assert started.exit_code == 0, started.output
        assert by_hand.invoke(emulator.main, ["start"]).output == started.output  # the same one
        assert by_hand.invoke(emulator.main, ["status"]).output == started.output
    finally:
        stopped = by_hand.invoke(emulator.main, ["stop"])
    assert stopped.exit_code == 0, stopped.output
    assert by_hand.invoke(emulator.main, ["status"]).exit_code == 1


@pytest.mark.loopback
def test_a_state_directory_keeps_buckets_and_tables(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    for made in (False, True):
        running = emulator.start(python, log=tmp_path / "log", state=tmp_path / "state")
        try:
            clients = AwsClients(AwsAccess(running.endpoint))
            s3, dynamodb = clients.client("s3"), clients.client("dynamodb")
            if made:
                assert s3.get_object(Bucket="kept", Key="a")["Body"].read() == b"body"
                assert dynamodb.list_tables()["TableNames"] == ["kept"]
            else:
                s3.create_bucket(Bucket="kept")
                s3.put_object(Bucket="kept", Key="a", Body=b"body")
                dynamodb.create_table(TableName="kept", BillingMode="PAY_PER_REQUEST", **SCHEMA)
        finally:
            emulator.stop(running)


def test_the_pins_are_of_the_versions_that_the_project_names() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["emulator"]
    pins = (files("pik.local") / "emulator-constraints.txt").read_text().splitlines()
    assert "ministack==1.5.33" in wanted
    assert "ministack==1.5.33" in pins
    assert any(pin.startswith("duckdb==") for pin in pins)
    assert all("://" not in pin for pin in pins)


def test_the_folder_localstack_is_no_package() -> None:
    """A library of that name would be shadowed where the project's folder is on the path."""
    assert not (ROOT / "localstack" / "__init__.py").exists()
