"""Payloads changed on their way out: members dropped, masked or hashed, and every other character left as it
is (white space, order of names, lexemes of numbers).

A path is names separated by dots. It is looked up in objects; an array on the way is gone through, so that
`items.email` is that member of each element. A name that stands twice, one that is written with escapes, and
one that itself has dots in it (`"user.email"`) are found too: what is to be hidden is hidden however it is
written.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple


class Action(StrEnum):
    """What becomes of a value."""

    DROP = "Drop"
    MASK = "Mask"
    HASH = "Hash"


class Rule(NamedTuple):
    path: str
    action: Action


Transform = Callable[[str], str]
"""From a payload's JSON text to another. The same text gives the same every time."""

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(r"[^ \t\r\n,\]}]+")
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
# a string before a colon is a name
_LEAF = re.compile(r'("(?:[^"\\]|\\.)*+")([ \t\r\n]*:)?|true|-?[0-9][0-9.eE+-]*', re.DOTALL)
_MASKED_TEXT = '"***"'
_NOT_JSON = "the payload is not JSON"  # which capture has seen to


def transform(rules: Sequence[Rule], key: bytes) -> Transform:
    """Applies the rules one after the other. `key`: of the hashes; not used without one."""
    changes = [_change(rule, key) for rule in rules]

    def apply(payload: str) -> str:
        for change in changes:
            payload = change(payload)
        return payload

    return apply


def masked(value: str) -> str:
    """A JSON text of the same shape that tells no value: texts are `***`, numbers 0, booleans false. Names,
    lengths of arrays and null stay."""
    return _LEAF.sub(_mask_leaf, value)


def hashed(value: str, key: bytes) -> str:
    """A JSON string: HMAC-SHA-256 (hex). Of a string its characters count, however they were written; of any
    other value its JSON text as it stands. Null stays null."""
    if value == "null":
        return value
    # the first letter keeps the string "1" and the number 1 apart
    content = f"s{json.loads(value)}" if value.startswith('"') else f"v{value}"
    return f'"{hmac.digest(key, content.encode(), "sha256").hex()}"'


def _mask_leaf(found: re.Match[str]) -> str:
    text = found[0]
    if text == "true":
        return "false"
    if not text.startswith('"'):
        return "0"
    return text if found[2] is not None else _MASKED_TEXT


def _change(rule: Rule, key: bytes) -> Transform:
    # a payload in which no name can be the path's first is done with at once
    hint = json.dumps(rule.path.partition(".")[0], ensure_ascii=False)[:-1]

    def replaced(value: str) -> str:
        return masked(value) if rule.action is Action.MASK else hashed(value, key)

    def change(payload: str) -> str:
        if hint not in payload and "\\" not in payload:
            return payload
        found = _Found(payload, dropping=rule.action is Action.DROP)
        found.walk(_end_of(_SPACE.match(payload)), rule.path)
        parts, done = [], 0
        for start, end in sorted(found.spans):
            parts.append(payload[done:start])
            if rule.action is not Action.DROP:
                parts.append(replaced(payload[start:end]))
            done = end
        return "".join((*parts, payload[done:]))

    return change


class _Found:
    """Where a path leads to in a payload, as spans that do not overlap: of values; or with `dropping` of
    members, each with one of the commas beside it."""

    def __init__(self, text: str, *, dropping: bool) -> None:
        self._text = text
        self._dropping = dropping
        self.spans: list[tuple[int, int]] = []

    def walk(self, at: int, path: str) -> int:
        """The end of the value that begins at `at`; on the way, where the path leads to within it."""
        if self._text[at] == "{":
            return self._object(at, path)
        if self._text[at] == "[":
            return self._array(at, path)
        return self._end(at)

    def _array(self, at: int, path: str) -> int:
        at = self._past_space(at + 1)
        while self._text[at] != "]":
            at = self._past_space(self.walk(at, path))
            if self._text[at] == ",":
                at = self._past_space(at + 1)
        return at + 1

    def _object(self, at: int, path: str) -> int:
        members: list[tuple[int, int, bool]] = []  # start, end, whether it is the one
        at = self._past_space(at + 1)
        while self._text[at] != "}":
            start = at
            at = self._end(at)
            name = self._text[start + 1 : at - 1]
            if "\\" in name:
                name = json.loads(f'"{name}"')
            value = self._past_space(self._past_space(at) + 1)
            if name == path:
                at = self._end(value)
                if not self._dropping:
                    self.spans.append((value, at))
            elif path.startswith(f"{name}."):
                at = self.walk(value, path[len(name) + 1 :])
            else:
                at = self._end(value)
            members.append((start, at, name == path))
            at = self._past_space(at)
            if self._text[at] == ",":
                at = self._past_space(at + 1)
        if self._dropping:
            self._drop(members)
        return at + 1

    def _drop(self, members: Sequence[tuple[int, int, bool]]) -> None:
        kept = [number for number, (_, _, dropped) in enumerate(members) if not dropped]
        last = kept[-1] if kept else -1
        for number, (start, _, dropped) in enumerate(members[: max(last, 0)]):
            if dropped:
                self.spans.append((start, members[number + 1][0]))
        if last < len(members) - 1:  # from behind the last one that stays
            start = members[last][1] if kept else members[0][0]
            self.spans.append((start, members[-1][1]))

    def _end(self, at: int) -> int:
        """Of the value or name that begins there."""
        first = self._text[at]
        if first == '"':
            return _end_of(_STRING.match(self._text, at))
        if first not in "{[":
            return _end_of(_SCALAR.match(self._text, at))
        depth = 0
        for token in _BRACKET.finditer(self._text, at):
            if token[0] in "{[":
                depth += 1
            elif token[0] in "}]":
                depth -= 1
                if depth == 0:
                    return token.end()
        raise ValueError(_NOT_JSON)

    def _past_space(self, at: int) -> int:
        return _end_of(_SPACE.match(self._text, at))


def _end_of(found: re.Match[str] | None) -> int:
    if found is None:
        raise ValueError(_NOT_JSON)
    return found.end()
