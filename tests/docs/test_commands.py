"""Every command line on a page is one that `pik` understands, without running it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click
import pytest

from docs.pages import PAGES, ROOT, CommandLine, blocks, command_lines, prose
from pik.cli.main import pik

LINES = [line for page in PAGES for line in command_lines(page)]


@pytest.fixture(autouse=True)
def _any_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a page names need not be there."""
    monkeypatch.setattr(click.Path, "convert", lambda _self, value, _param, _ctx: value)


def parse(command: click.Command, name: str, words: Sequence[str], *, whole: bool, **extra: Any) -> None:
    """Raises click.UsageError. Not `whole`: arguments and options that are required may be missing."""
    if not whole or isinstance(command, click.Group):
        context = click.Context(command, info_name=name, **extra)
        _, words, _ = command.make_parser(context).parse_args(list(words))
    if not isinstance(command, click.Group):
        if whole:
            command.make_context(name, list(words), **extra)
        return
    if not words:
        assert not whole, f"{name} alone does nothing"
        return
    resolved, inner, rest = command.resolve_command(context, list(words))
    assert inner is not None
    parse(inner, resolved or "", rest, whole=whole, parent=context)


@pytest.mark.parametrize("line", LINES, ids=str)
def test_every_command_line_is_understood(line: CommandLine) -> None:
    parse(pik, "pik", line.words, whole=line.whole)


def test_there_are_command_lines_to_look_at() -> None:
    assert sum(line.whole for line in LINES) > 30


@pytest.mark.parametrize(
    "words", [["up"], ["nothing"], ["get", "--nothing"], ["inspect", "late", "flights", "--known-by", "x"]]
)
def test_what_is_not_understood_is_seen(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(pik, "pik", words, whole=True)


def test_every_target_of_make_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        texts = [prose(page), *(block.text for block in blocks(page, "sh", "text"))]
        named = {name for text in texts for name in re.findall(r"(?:^|`| {4})make ([a-z0-9-]+)", text)}
        assert named <= targets, page.name
