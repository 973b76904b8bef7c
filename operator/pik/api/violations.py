"""What is wrong with a manifest, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault. `path` names the field (`spec.measures[1].name`, empty for the whole object); `message` is
    in the API server's words; `hint` adds what a person needs to set it right."""

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text} ({self.hint})" if self.hint else text


class InvalidManifest(Exception):
    """A manifest that is refused, with every reason for it."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("\n".join(str(violation) for violation in violations))
        self.violations = tuple(violations)


def invalid(path: str, value: Any, detail: str, hint: str = "") -> Violation:
    """`Invalid value`, with the value as JSON."""
    return Violation(path, f"Invalid value: {json.dumps(value, ensure_ascii=False)}: {detail}", hint)


def required(path: str, detail: str = "", hint: str = "") -> Violation:
    """A field that is absent."""
    return Violation(path, f"Required value: {detail}" if detail else "Required value", hint)


def duplicate(path: str, value: Any) -> Violation:
    """An item that stands in a set or map list before."""
    return Violation(path, f"Duplicate value: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}")


def unsupported(path: str, value: Any, allowed: Iterable[str]) -> Violation:
    """A value that is not one of an enum's."""
    choices = ", ".join(json.dumps(choice) for choice in allowed)
    return Violation(
        path, f"Unsupported value: {json.dumps(value, ensure_ascii=False)}: supported values: {choices}"
    )
