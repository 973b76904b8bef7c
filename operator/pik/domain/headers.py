"""Headers of the requests that events came with, kept apart from the events: those that an owner names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import orjson

from pik.domain.errors import BatchTooLarge

MAX_HEADERS_BYTES = 8_192
"""Of the JSON text of the headers that are kept of a request."""

_IS_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110; what is none could not be sent again


def kept_headers(headers: Iterable[tuple[bytes, bytes]], names: Sequence[str]) -> str | None:
    """A JSON object of those with these names (in small letters), in that order; None where there is none.
    Several of one name are one, with commas (RFC 9110). Raises `BatchTooLarge`."""
    found: dict[str, list[str]] = {}
    for raw, value in headers:
        name = raw.decode("latin-1").lower()
        text = value.decode("latin-1").strip()
        if name in names and _IS_VALUE.fullmatch(text):
            found.setdefault(name, []).append(text)
    if not found:
        return None
    kept = orjson.dumps({name: ", ".join(found[name]) for name in names if name in found}).decode()
    if len(kept) > MAX_HEADERS_BYTES:
        raise BatchTooLarge(f"the headers to be kept have {len(kept)} bytes; {MAX_HEADERS_BYTES} are taken")
    return kept


def sent_headers(kept: str | None, names: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Of what was kept, those with these names, as they are sent again."""
    if kept is None:
        return []
    there: dict[str, str] = orjson.loads(kept)
    return [(name.encode(), there[name].encode("latin-1")) for name in names if name in there]
