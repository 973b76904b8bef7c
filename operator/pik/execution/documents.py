"""The JSON objects that pik makes and reads again."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pik.domain.errors import Tampered

T = TypeVar("T", bound=msgspec.Struct)


def document(key: str, body: bytes, kind: type[T]) -> T:
    """What the object `key` says. Raises `Tampered`, naming it, where it is nothing of the kind."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Tampered(f"{key}: {error}") from error
