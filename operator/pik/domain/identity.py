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
    """The payload with sorted keys, no white space, one spelling of each string, number lexemes untouched,
    and without the dot paths in `exclude`. Two payloads of equal canonical text are no conflict."""
    return exact_text(parse_exact(payload, exclude)).encode()


def parse_exact(payload: bytes, exclude: Sequence[str] = ()) -> Any:
    """The payload's value, without the dot paths in `exclude`; compare parts of it by their `exact_text`: a
    number is its own characters, and as such equal to the string of them."""
    value = json.loads(payload, parse_int=_Number, parse_float=_Number)
    for path in exclude:
        _remove(value, path.split("."))
    return value


def _remove(value: Any, path: list[str]) -> None:
    for name in path[:-1]:
        if not isinstance(value, dict) or name not in value:
            return
        value = value[name]
    if isinstance(value, dict):
        value.pop(path[-1], None)


def exact_text(value: Any) -> str:
    """The canonical JSON text of what `parse_exact` gave, or of a part of it."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{exact_text(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(exact_text, value)) + "]"
    return json.dumps(value)


def join_escaped(parts: Sequence[str], separator: str = "/") -> str:
    """Joins parts so that no two different sequences give one text: `\\` and the separator are escaped."""
    return separator.join(part.replace("\\", "\\\\").replace(separator, "\\" + separator) for part in parts)


def shard_of(entity_id: str, shards: int) -> int:
    """The shard, 0 to shards - 1, that an entity's events belong to; the same in every process and run."""
    return int.from_bytes(sha256(entity_id.encode()).digest()[:8]) % shards
