"""Who an event is: fingerprint and event id (design: Definitions)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import orjson

from pik.domain.instants import Instant


class _Number(str):
    """A JSON number's own characters, so that 1.0, 1.00 and 1e0 stay three texts."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """A JSON object's fields as they stand, so that a name that stands twice is two fields."""


_JSON = json.JSONEncoder()


def fingerprint(
    event_type: str, entity_id: str, event_time: Instant, payload: bytes, exclude: Sequence[str] = ()
) -> str:
    """SHA-256 (hex) over event type, entity id, UTC event time and payload.

    Without `exclude` the payload's bytes count as they are; with it, the canonical text of the payload
    without those dot paths, since there is no byte range to leave out that keeps JSON valid.
    """
    head = orjson.dumps([event_type, entity_id, event_time.exact_text])
    body = canonical(payload, exclude) if exclude else payload
    # head has no raw newline (JSON escapes it), so the pair is unambiguous
    return sha256(head + b"\n" + body).hexdigest()


def event_id(source: str, key: str | None, content: str) -> str:
    """SHA-256 (hex) of the RFC 8785 form of ["pik/1","key",source,key], or without a key
    ["pik/1","content",source,fingerprint]. For an array of strings orjson writes just that form (tested
    against the rfc8785 package)."""
    identity = ["pik/1", "content", source, content] if key is None else ["pik/1", "key", source, key]
    return sha256(orjson.dumps(identity)).hexdigest()


def canonical(payload: bytes, exclude: Sequence[str] = ()) -> bytes:
    """The payload with sorted names, no white space, one spelling of each string, number lexemes untouched,
    and without the dot paths in `exclude`. Two payloads of equal canonical text are no conflict. A name that
    stands twice in an object is kept twice, in its order: readers differ on which one they take."""
    value = json.loads(payload, parse_int=_Number, parse_float=_Number, object_pairs_hook=_Object)
    for path in exclude:
        _remove(value, path.split("."))
    return _text(value).encode()


def _remove(value: Any, path: Sequence[str]) -> None:
    if not isinstance(value, _Object):
        return
    if len(path) == 1:
        value[:] = [field for field in value if field[0] != path[0]]
        return
    for name, inner in value:
        if name == path[0]:
            _remove(inner, path[1:])


def _text(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, _Object):
        fields = sorted(value, key=_name)
        return "{" + ",".join([f"{_JSON.encode(name)}:{_text(inner)}" for name, inner in fields]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_text(inner) for inner in value]) + "]"
    return _JSON.encode(value)


def _name(field: tuple[str, Any]) -> str:
    return field[0]


def join_escaped(parts: Sequence[str], separator: str = "/") -> str:
    """Joins parts so that no two different sequences give one text: `\\` and the separator are escaped.

    Raises ValueError for no parts (which would look like one empty part), and for a separator that is not one
    character or is the backslash itself.
    """
    if not parts or len(separator) != 1 or separator == "\\":
        raise ValueError("at least one part, and one character other than a backslash between them")
    return separator.join(part.replace("\\", "\\\\").replace(separator, "\\" + separator) for part in parts)


def shard_of(entity_id: str, shards: int) -> int:
    """The shard, 0 to shards - 1, that an entity's events belong to; the same in every process and run."""
    return int.from_bytes(sha256(entity_id.encode()).digest()[:8]) % shards
