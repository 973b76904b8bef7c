"""The examples on the functions' pages, and whether an answer is what a page shows."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

from docs.pages import DOCS, blocks

_ANY = "…"


def examples(function: str) -> list[Any]:
    """The JSON blocks of a function's page, in order."""
    return [json.loads(block.text) for block in blocks(DOCS / "functions" / f"{function}.md", "json")]


def exchanges(function: str) -> list[tuple[Any, Any]]:
    """What is asked, and what is answered: blocks of which the second stands right below the first."""
    page = DOCS / "functions" / f"{function}.md"
    found = blocks(page, "json")
    return [
        (json.loads(asked.text), json.loads(told.text))
        for asked, told in pairwise(found)
        if told.line == asked.line + asked.text.count("\n") + 3
    ]


def shows(shown: Any, found: Any) -> bool:
    """Whether a page's example is true: an ellipsis stands for any text, and an object may have more."""
    match shown:
        case dict():
            there = isinstance(found, dict) and shown.keys() <= found.keys()
            return there and all(shows(value, found[name]) for name, value in shown.items())
        case list():
            same = isinstance(found, list) and len(shown) == len(found)
            return same and all(map(shows, shown, found))
        case str() if _ANY in shown:
            pattern = ".*".join(map(re.escape, shown.split(_ANY)))
            return isinstance(found, str) and re.fullmatch(pattern, found, re.DOTALL) is not None
    return bool(shown == found)
