"""The pages that people read, taken apart: fenced blocks, command lines, words in code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = (README, *sorted(DOCS.rglob("*.md")))

_FENCE = re.compile(r"^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_INDENTED = re.compile(r"^ {4}(?P<line>\S.*)$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"[A-Z_]+=.*")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `line`: of its first line of text, from 1."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """`whole`: it is shown to be typed, and not only named in a sentence."""

    place: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.place}: pik {' '.join(self.words)}"


def blocks(page: Path, *languages: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [
        Block(page, text.count("\n", 0, match.start("text")) + 1, match["language"], match["text"])
        for match in _FENCE.finditer(text)
    ]
    return [block for block in found if not languages or block.language in languages]


def prose(page: Path) -> str:
    """What stands outside of fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def code(page: Path) -> list[str]:
    """What stands in back ticks outside of fenced blocks."""
    return _CODE.findall(prose(page))


def command_lines(page: Path) -> Iterator[CommandLine]:
    """Every `pik …` of a page."""
    for block in blocks(page, "sh", "text"):
        for number, line in enumerate(block.text.replace("\\\n", " ").splitlines()):
            typed = line.removeprefix("$ ") if block.language == "text" else line
            if block.language == "sh" or line.startswith("$ "):
                yield from _pik(f"{block.page.name}:{block.line + number}", typed, whole=True)
    for match in _INDENTED.finditer(prose(page)):
        yield from _pik(page.name, match["line"], whole=True)
    for text in code(page):
        yield from _pik(page.name, text, whole=False)


def _pik(place: str, line: str, *, whole: bool) -> Iterator[CommandLine]:
    if "pik" not in line:
        return
    words = shlex.split(line, comments=True)
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    if words and words[0] in ("pik", ".venv/bin/pik"):
        yield CommandLine(place, tuple(word for word in words[1:] if word != "…"), whole)
