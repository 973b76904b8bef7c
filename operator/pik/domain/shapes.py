"""Of which shapes payloads are: what somebody who is about to send them again wants to know first.

A shape is the set of a payload's paths with the JSON type at each: object, array, string, number or boolean.
The elements of an array are one path; null says nothing of a type and counts as absent. Order, values and
lengths do not matter.

A segment says of which shapes its rows are, by event type, in its file's metadata (`pik.shapes`). Of a
segment with more than `LOOKED_AT` rows so many are looked at, evenly spread; how many that were is
said too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec
import orjson

LOOKED_AT = 64
"""Rows of a segment whose payloads are looked at, at most."""

MAX_SHAPES = 16
"""Kinds of a segment that are named, at most."""

_DIGITS = 16
_TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
}
_NESTED = frozenset({dict, list})


class Kind(msgspec.Struct, frozen=True):
    """Payloads of one shape and event type. `rows`: how many of those looked at; `example`: an event id."""

    event_type: str
    shape: str  # 16 hex digits
    rows: int
    example: str


class Shapes(msgspec.Struct, frozen=True):
    """What is known of the shapes of `rows` rows, of which so many were looked at. `cut`: there are more
    kinds than are named."""

    rows: int
    looked_at: int
    kinds: tuple[Kind, ...]
    cut: bool = False

    @property
    def complete(self) -> bool:
        return self.looked_at == self.rows and not self.cut


def shapes_of(event_types: Sequence[str], payloads: Sequence[bytes], event_ids: Sequence[str]) -> Shapes:
    """Of the rows of a segment."""
    count = len(payloads)
    chosen = range(count) if count <= LOOKED_AT else [n * count // LOOKED_AT for n in range(LOOKED_AT)]
    counts: dict[tuple[str, Any], list[int]] = {}  # by event type and structure: the first, and how many
    for row in chosen:
        key = (event_types[row], _structure(orjson.loads(payloads[row])))
        there = counts.get(key)
        if there is None:
            counts[key] = [row, 1]
        else:
            there[1] += 1
    kinds = (
        Kind(event_type, _shape(structure), rows, event_ids[row])
        for (event_type, structure), (row, rows) in counts.items()
    )
    return _whole(count, len(chosen), kinds, cut=False, most=MAX_SHAPES)


def together(several: Iterable[Shapes], event_types: Sequence[str] | None, most: int) -> Shapes:
    """What is known of several segments together; of these event types, where they are given."""
    rows = looked_at = 0
    cut = False
    kinds: list[Kind] = []
    for each in several:
        rows += each.rows
        looked_at += each.looked_at
        cut |= each.cut
        kinds += [kind for kind in each.kinds if event_types is None or kind.event_type in event_types]
    return _whole(rows, looked_at, kinds, cut=cut, most=most)


def read_shapes(metadata: Mapping[bytes, bytes] | None, rows: int) -> Shapes:
    """What a segment's file says; nothing at all where it was written before there was this, or says nothing
    sensible: it is no evidence, and can be found out anew."""
    try:
        return msgspec.json.decode((metadata or {})[b"pik.shapes"], type=Shapes)
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError):
        return Shapes(rows, 0, ())


def _whole(rows: int, looked_at: int, kinds: Iterable[Kind], *, cut: bool, most: int) -> Shapes:
    merged: dict[tuple[str, str], Kind] = {}
    for kind in kinds:
        there = merged.get((kind.event_type, kind.shape))
        if there is not None:
            kind = msgspec.structs.replace(there, rows=there.rows + kind.rows)
        merged[kind.event_type, kind.shape] = kind
    ordered = sorted(merged.values(), key=lambda kind: (-kind.rows, kind.event_type, kind.shape))
    return Shapes(rows, looked_at, tuple(ordered[:most]), cut or len(ordered) > most)


def _structure(value: Any) -> Any:
    """The type of a leaf; of an object its names and what they have, of an array what its elements are. Equal
    ones are of one shape; this is the part of the work that each payload takes."""
    kind = type(value)
    if kind is dict:
        inner = tuple(map(type, value.values()))
        if not _NESTED.isdisjoint(inner):
            inner = tuple(map(_structure, value.values()))
        return dict, tuple(value), inner
    return (list, tuple(dict.fromkeys(map(_structure, value)))) if kind is list else kind


def _shape(structure: Any) -> str:
    paths: set[str] = set()
    _collect(structure, (), paths)
    return sha256("\n".join(sorted(paths)).encode()).hexdigest()[:_DIGITS]


def _collect(structure: Any, path: tuple[str, ...], paths: set[str]) -> None:
    if isinstance(structure, type):
        if structure in _TYPES:  # a null says nothing of a type
            paths.add(_line(path, _TYPES[structure]))
        return
    kind, *inner = structure
    paths.add(_line(path, _TYPES[kind]))
    if kind is list:
        for element in inner[0]:
            _collect(element, (*path, "[]"), paths)
        return
    for name, value in zip(*inner, strict=True):
        _collect(value, (*path, f".{name}"), paths)


def _line(path: tuple[str, ...], kind: str) -> str:
    return f"{orjson.dumps(path).decode()} {kind}"
