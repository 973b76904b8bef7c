"""The CEL rules of a schema, each evaluated where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cel

from pik.api.crd import RULES, Schema
from pik.api.violations import Violation, invalid

ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class _Compiled:
    program: cel.Program
    is_transition: bool


@cache
def compiled(rule: str) -> _Compiled:
    """Raises ValueError for a rule that is not CEL."""
    program = cel.compile(rule)
    return _Compiled(program, "oldSelf" in program.variables())


def rule_violations(
    value: Any, old: Any, schema: Schema, path: str = "", faulty: Sequence[str] = ()
) -> list[Violation]:
    """The rules that do not hold of the value or of a part of it. `old`: the value before, or ABSENT.

    Rules with oldSelf apply where the value was there before; an item of a list was if the list is a map.
    As at the API server, a rule that cannot be evaluated does not hold; it is not told where a part of the
    value (or one of the paths in `faulty`) is told to be wrong, which is why.
    """
    found = [
        violation
        for place, item, before, below in _parts(value, old, schema, path)
        for violation in rule_violations(item, before, below, place, faulty)
    ]
    inside = any(fault.startswith(path) for fault in (*faulty, *(violation.path for violation in found)))
    for rule in schema.get(RULES, ()):
        holds = _holds(compiled(rule["rule"]), value, old)
        if holds is False or (holds is None and not inside):
            found.append(_violation(rule, value, path))
    return found


def _parts(value: Any, old: Any, schema: Schema, path: str) -> Iterator[tuple[str, Any, Any, Schema]]:
    """Path, value, value before and schema of each field or item."""
    match value:
        case dict():
            before = old if isinstance(old, dict) else {}
            properties = schema.get("properties", {})
            others = schema.get("additionalProperties", {})
            for name, item in value.items():
                place = f"{path}.{name}" if path else name
                yield place, item, before.get(name, ABSENT), properties.get(name, others)
        case list():
            keys = schema.get("x-kubernetes-list-map-keys", ())
            by_key = {_key(item, keys): item for item in old} if keys and isinstance(old, list) else {}
            for index, item in enumerate(value):
                before = by_key.get(_key(item, keys), ABSENT) if keys else ABSENT
                yield f"{path}[{index}]", item, before, schema.get("items", {})
        case _:
            pass


def _key(item: dict[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(item.get(key) for key in keys)


def _holds(check: _Compiled, value: Any, old: Any) -> bool | None:
    """Whether the rule holds; None: it cannot be evaluated."""
    if old is ABSENT:
        if check.is_transition:
            return True
        known = {"self": value}
    else:
        known = {"self": value, "oldSelf": old}
    try:
        return check.program.execute(known) is True
    except (RuntimeError, ValueError, TypeError, KeyError):
        return None


def _violation(rule: dict[str, str], value: Any, path: str) -> Violation:
    place = f"{path}{rule.get('fieldPath', '')}".removeprefix(".")
    if isinstance(value, dict | list):
        return Violation(place, f"Invalid value: {rule['message']}")
    return invalid(place, value, rule["message"])
