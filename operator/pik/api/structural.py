"""The checks that the API server makes by the structural schema: types, bounds, patterns, enums, required
fields, and lists that are sets or maps.

jsonschema does the walking, restricted to the keywords that Kubernetes knows. Patterns are matched by the
regular expressions of Rust (through pydantic), which like the API server's are linear in the text's length
and for which `$` is the end of the text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any

from jsonschema import Draft202012Validator, ValidationError, validators
from pydantic import StringConstraints, TypeAdapter
from pydantic import ValidationError as Mismatch

from pik.api.crd import Schema
from pik.api.violations import Violation, duplicate, invalid, required, unsupported

_KEYWORDS = (
    *("type", "enum", "required", "properties", "items", "additionalProperties"),
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
    *("minProperties", "maxProperties"),
)


def _pattern(_: Any, pattern: Any, value: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    # of a text that is too long or too short, nothing more is said
    if not isinstance(value, str) or not schema.get("minLength", 0) <= len(value) <= schema["maxLength"]:
        return
    if not matches(pattern, value):
        yield ValidationError(f"should match '{pattern}'")


@cache
def _matcher(pattern: str) -> TypeAdapter[str]:
    return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern, which is anchored where it says so, is found in the text."""
    try:
        _matcher(pattern).validate_python(text)
    except Mismatch:
        return False
    return True


INT_OR_STRING = "x-kubernetes-int-or-string"


def _int_or_string(_: Any, wanted: Any, value: Any, __: Mapping[str, Any]) -> Iterator[ValidationError]:
    if wanted and _type_of(value) not in ("integer", "string"):
        yield ValidationError("is neither")


_Structural = validators.create(
    meta_schema={},
    validators={
        **{word: Draft202012Validator.VALIDATORS[word] for word in _KEYWORDS},
        "pattern": _pattern,
        INT_OR_STRING: _int_or_string,
    },
    type_checker=Draft202012Validator.TYPE_CHECKER,
)

BLOCKING = ("type", INT_OR_STRING, "enum", "required", "maxLength", "maxItems", "maxProperties")
"""Keywords whose violation keeps the API server from evaluating rules."""


def schema_violations(value: Any, schema: Schema) -> tuple[list[Violation], bool]:
    """The violations of the schema in the order of its fields, and whether rules cannot be evaluated."""
    errors = list(_Structural(schema).iter_errors(value))
    return [_violation(error) for error in errors], any(error.validator in BLOCKING for error in errors)


def list_violations(value: Any, schema: Schema, path: str = "") -> Iterator[Violation]:
    """Repeated items of lists that are sets, and repeated keys of lists that are maps."""
    match value:
        case dict():
            properties = schema.get("properties", {})
            for name, item in value.items():
                below = properties.get(name, schema.get("additionalProperties", {}))
                yield from list_violations(item, below, f"{path}.{name}" if path else name)
        case list():
            yield from _repeated(value, schema, path)
            for index, item in enumerate(value):
                yield from list_violations(item, schema.get("items", {}), f"{path}[{index}]")
        case _:
            pass


def _repeated(items: list[Any], schema: Schema, path: str) -> Iterator[Violation]:
    keys = schema.get("x-kubernetes-list-map-keys", ())
    match schema.get("x-kubernetes-list-type"):
        case "set":
            identities = items
        case "map":
            for index, item in enumerate(items):
                if not isinstance(item, dict):
                    yield invalid(f"{path}[{index}]", item, "must be an object for an array of list-type map")
                    return  # the API server names the first only
            identities = [{key: item[key] for key in keys if key in item} for item in items]
        case _:
            return
    seen: dict[str, int] = {}
    for index, identity in enumerate(identities):
        text = json.dumps(identity, sort_keys=True)
        seen[text] = seen.get(text, 0) + 1
        if seen[text] == 2:  # the API server names the first repeat only
            yield duplicate(f"{path}[{index}]", identity)


def _violation(error: ValidationError) -> Violation:
    path = _path(error.absolute_path)
    schema: Schema = error.schema  # type: ignore[assignment]
    bound: Any = error.validator_value
    value: Any = error.instance
    hint = _first_sentence(schema)
    match error.validator:
        case "required":
            # jsonschema has one error for each absent name, which it tells in the message alone
            name = next(name for name in bound if error.message.startswith(repr(name)))
            field = schema["properties"].get(name, {})
            return required(f"{path}.{name}" if path else name, hint=_first_sentence(field))
        case "enum":
            return unsupported(path, value, bound)
        case "maxLength":
            return Violation(path, f"Too long: may not be more than {bound} byte{'' if bound == 1 else 's'}")
        case "maxItems" | "maxProperties":
            return Violation(path, f"Too many: {len(value)}: must have at most {bound} items")
        case "type" | "x-kubernetes-int-or-string":
            kind = _type_of(value)
            bound = bound if error.validator == "type" else "integer,string"
            if "string" in bound and kind in ("boolean", "integer", "number"):
                hint = "put it in quotes"
            return invalid(path, kind, f'{path or "<root>"} in body must be of type {bound}: "{kind}"', hint)
        case _:
            detail = _DETAILS[str(error.validator)](bound)
            shown = len(value) if isinstance(value, list | dict) else value
            return invalid(path, shown, f"{path} in body {detail}", hint)


_DETAILS: dict[str, Callable[[Any], str]] = {
    "minimum": lambda bound: f"should be greater than or equal to {bound}",
    "maximum": lambda bound: f"should be less than or equal to {bound}",
    "minLength": lambda bound: f"should be at least {bound} chars long",
    "minItems": lambda bound: f"should have at least {bound} items",
    "minProperties": lambda bound: f"should have at least {bound} properties",
    "pattern": lambda bound: f"should match '{bound}'",
}


def _first_sentence(schema: Schema) -> str:
    text: str = schema.get("description", "")
    return text.partition(". ")[0].removesuffix(".")


def _path(parts: Iterable[str | int]) -> str:
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
