"""Where two payloads differ, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pik.domain.identity import exact_text, parse_exact


class Difference(msgspec.Struct, frozen=True):
    """One field: `path` in dots and brackets, and both values as canonical JSON text, None where absent."""

    path: str
    first: str | None
    other: str | None


def payload_differences(first: bytes, other: bytes, exclude: Sequence[str] = ()) -> list[Difference]:
    """The smallest parts that differ, in order of their paths, without the dot paths in `exclude`. Number
    lexemes are compared as they are; the order of keys does not matter."""
    return list(_compare("payload", parse_exact(first, exclude), parse_exact(other, exclude)))


def _compare(path: str, first: Any, other: Any) -> Iterator[Difference]:
    if isinstance(first, dict) and isinstance(other, dict):
        for name in sorted(first.keys() | other.keys()):
            below = f"{path}{_step(name)}"
            if name not in other:
                yield Difference(below, exact_text(first[name]), None)
            elif name not in first:
                yield Difference(below, None, exact_text(other[name]))
            else:
                yield from _compare(below, first[name], other[name])
    elif isinstance(first, list) and isinstance(other, list) and len(first) == len(other):
        for position, (one, two) in enumerate(zip(first, other, strict=True)):
            yield from _compare(f"{path}[{position}]", one, two)
    elif exact_text(first) != exact_text(other):
        yield Difference(path, exact_text(first), exact_text(other))


def _step(name: str) -> str:
    """A name as a dot path has it, or in brackets and quotes where dots would be ambiguous."""
    return f".{name}" if name and not set(name) & set('.[]"') else f"[{exact_text(name)}]"
