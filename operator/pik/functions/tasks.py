"""What a function is told to do, as JSON in an environment variable of its own."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from pik.api.common import Value

T = TypeVar("T", bound=msgspec.Struct)


def encode_task(task: msgspec.Struct) -> str:
    """JSON; the same task gives the same text."""
    return msgspec.json.encode(task, enc_hook=_manifest).decode()


def decode_task(text: str, kind: type[T]) -> T:
    """Raises ValueError for what is none."""
    return msgspec.json.decode(text, type=kind, dec_hook=_value)


def _manifest(value: Any) -> Any:
    if isinstance(value, Value):
        return value.to_manifest()
    raise NotImplementedError(f"a task has no {type(value).__name__}")


def _value(kind: type[Any], found: Any) -> Any:
    if issubclass(kind, Value):
        return kind.model_validate(found)
    raise NotImplementedError(f"a task has no {kind.__name__}")
