"""Where two payloads differ, field by field."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pik.domain.identity import canonical


class Difference(msgspec.Struct, frozen=True):
    """One field: `path` in dots and brackets, and both values as canonical JSON text, None where absent."""

    path: str
    first: str | None
    other: str | None


class _Lexeme(str):
    """A number's own characters."""

    __slots__ = ()


def payload_differences(first: bytes, other: bytes, exclude: Sequence[str] = ()) -> list[Difference]:
    """The smallest parts that differ, in order of their paths, without the dot paths in `exclude`. None
    exactly where the canonical texts are equal."""
    return list(_compare("payload", _parse(first, exclude), _parse(other, exclude)))


def _parse(payload: bytes, exclude: Sequence[str]) -> Any:
    text = canonical(payload, exclude)
    return json.loads(text, parse_int=_Lexeme, parse_float=_Lexeme, object_pairs_hook=_fields)


def _fields(pairs: list[tuple[str, Any]]) -> dict[tuple[str, int], Any]:
    """An object's fields by name and, since a name may stand twice, by which of them it is."""
    seen: Counter[str] = Counter()
    fields = {}
    for name, value in pairs:
        fields[name, seen[name]] = value
        seen[name] += 1
    return fields


def _compare(path: str, first: Any, other: Any) -> Iterator[Difference]:
    if isinstance(first, dict) and isinstance(other, dict):
        for field in sorted(first.keys() | other.keys()):
            below = path + _step(*field)
            if field not in other:
                yield Difference(below, _text(first[field]), None)
            elif field not in first:
                yield Difference(below, None, _text(other[field]))
            else:
                yield from _compare(below, first[field], other[field])
    elif isinstance(first, list) and isinstance(other, list) and len(first) == len(other):
        for position, (one, two) in enumerate(zip(first, other, strict=True)):
            yield from _compare(f"{path}[{position}]", one, two)
    elif _text(first) != _text(other):
        yield Difference(path, _text(first), _text(other))


def _step(name: str, occurrence: int) -> str:
    """A name as a dot path has it, or in brackets and quotes where dots would be ambiguous; `#2` for the
    second field of the same name."""
    plain = name and not set(name) & set('.[]"#')
    again = f"#{occurrence + 1}" if occurrence else ""
    return (f".{name}" if plain else f"[{json.dumps(name)}]") + again


def _text(value: Any) -> str:
    if isinstance(value, _Lexeme):
        return str(value)
    if isinstance(value, dict):
        fields = [f"{json.dumps(name)}:{_text(inner)}" for (name, _), inner in value.items()]
        return "{" + ",".join(fields) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)
