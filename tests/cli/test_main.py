"""The command itself: its help, its errors, its exit codes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.desks import Office
from pik.cli.main import COMMANDS, main, pik
from pik.domain.errors import Incomplete

ENTRIES = [(name, entry) for section in COMMANDS.values() for name, entry in section.items()]


@pytest.mark.parametrize(("name", "entry"), ENTRIES)
def test_every_command_is_there_and_says_what_it_does(name: str, entry: tuple[str, str]) -> None:
    found = import_module(f"pik.cli.{entry[0]}").command
    assert isinstance(found, click.Command)
    assert found.name == name
    assert CliRunner().invoke(pik, [name, "--help"]).exit_code == 0
    assert entry[1] in CliRunner().invoke(pik, ["--help"], terminal_width=110).output.replace("\n", " ")


def test_help_says_the_exit_codes() -> None:
    help_text = CliRunner().invoke(pik, ["--help"]).output
    assert "Exit codes:" in help_text
    assert "130" in help_text


@pytest.mark.parametrize(
    "arguments", [["inspct"], ["inspect", "late"], ["version", "--loud"], ["version", "-o", "xml"]]
)
def test_what_is_not_understood_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_ctrl_c_ends_with_130_and_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pik.cli.version.show_table", interrupt)
    result = Office(tmp_path).run("version")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_an_error_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Incomplete("a segment is gone:\n  raw/x")

    monkeypatch.setattr("pik.cli.version.show_table", fail)
    result = Office(tmp_path).run("version")
    assert (result.exit_code, result.stderr) == (1, "error: a segment is gone: raw/x\n")


def test_a_folder_without_state_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(pik, ["verify", "things", "-C", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr == f"error: no `pik up` has worked on {tmp_path} yet\n"


def test_the_folder_may_be_named_before_the_command_and_the_nearer_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(*arguments: str) -> str:
        return CliRunner().invoke(pik, arguments).stderr

    assert "worked on one yet" in named("-C", "one", "get")
    assert "worked on two yet" in named("-C", "one", "get", "-C", "two")
    monkeypatch.setenv("PIK_DIR", str(tmp_path))
    assert f"worked on {tmp_path} yet" in named("get")
    assert "worked on one yet" in named("-C", "one", "get", "pik")
