"""The CEL rules of a schema, each evaluated where it stands."""

from __future__ import annotations

from collections.abc import Iterator
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


def rule_violations(value: Any, old: Any, schema: Schema, path: str = "") -> Iterator[Violation]:
    """The rules that do not hold of the value or of a part of it. `old`: the value before, or ABSENT.

    Rules with oldSelf apply where the value was there before; a list's item was only if the list is a map.
    """
    for rule in schema.get(RULES, ()):
        yield from _violation(rule, value, old, path)
    match value:
        case dict():
            before = old if isinstance(old, dict) else {}
            properties = schema.get("properties", {})
            for name, item in value.items():
                known = name in properties
                below = properties[name] if known else schema.get("additionalProperties", {})
                place = (f"{path}.{name}" if path else name) if known else f"{path}[{name}]"
                yield from rule_violations(item, before.get(name, ABSENT), below, place)
        case list():
            keys = schema.get("x-kubernetes-list-map-keys", ())
            by_key = {_key(item, keys): item for item in old} if keys and isinstance(old, list) else {}
            for index, item in enumerate(value):
                before = by_key.get(_key(item, keys), ABSENT) if keys else ABSENT
                yield from rule_violations(item, before, schema.get("items", {}), f"{path}[{index}]")
        case _:
            pass


def _key(item: dict[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key) for key in keys)


def _violation(rule: dict[str, str], value: Any, old: Any, path: str) -> Iterator[Violation]:
    check = compiled(rule["rule"])
    if check.is_transition and old is ABSENT:
        return
    known = {"self": value} if old is ABSENT else {"self": value, "oldSelf": old}
    scalar = not isinstance(value, dict | list)
    try:
        holds = check.program.execute(known)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        # as the API server does: a rule that cannot be evaluated does not hold
        kind = "string" if isinstance(value, str) else "object"
        yield invalid(path, value if scalar else kind, f"{error} evaluating rule: {rule['message']}")
        return
    if holds is True:
        return
    place = f"{path}{rule.get('fieldPath', '')}".removeprefix(".")
    if scalar:
        yield invalid(place, value, rule["message"])
    else:
        yield Violation(place, f"Invalid value: {rule['message']}")
