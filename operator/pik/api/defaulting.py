"""What an API server does to an object before it validates it: nulls dropped, defaults set, and unknown
fields found (refused under strict field validation, which is what kubectl asks for)."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from pik.api.crd import Schema
from pik.api.violations import Violation


def with_defaults(value: Any, schema: Schema) -> Any:
    """A copy of the value with the defaults of the structural schema, and without nulls in objects' fields
    (none of ours is nullable: a null is a field that is absent). Values of another type stay as they are."""
    properties: dict[str, Schema] = schema.get("properties", {})
    match value:
        case dict():
            known = {name: item for name, item in value.items() if item is not None}
            for name, field in properties.items():
                if name not in known and "default" in field:
                    known[name] = field["default"]
            others: Schema = schema.get("additionalProperties", {})
            return {name: with_defaults(item, properties.get(name, others)) for name, item in known.items()}
        case list():
            return [with_defaults(item, schema.get("items", {})) for item in value]
        case _:
            return value


def unknown_fields(value: Any, schema: Schema, path: str = "") -> list[Violation]:
    """The fields that the schema does not know, with what may have been meant."""
    found: list[Violation] = []
    match value:
        case dict() if "properties" in schema:
            properties: dict[str, Schema] = schema["properties"]
            for name, item in value.items():
                below = f"{path}.{name}" if path else name
                if name in properties:
                    found.extend(unknown_fields(item, properties[name], below))
                else:
                    close = get_close_matches(name, properties, n=1)
                    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(properties)}"
                    found.append(Violation(below, f'unknown field "{below}"', hint))
        case list():
            for index, item in enumerate(value):
                found.extend(unknown_fields(item, schema.get("items", {}), f"{path}[{index}]"))
        case _:
            pass
    return found
