"""The CustomResourceDefinitions, built from the models.

pydantic's JSON Schema is turned into the structural schema that Kubernetes asks for: references resolved, an
optional field without null, no titles, and no defaults in status.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pik.api.common import CATEGORY, GROUP, VERSION, PrinterColumn
from pik.api.kinds import KINDS, AnyResource

Schema = dict[str, Any]
RULES = "x-kubernetes-validations"

# pydantic says it, a structural schema must not: unknown fields are pruned or refused by the API server
_LEFT_OUT = {"title", "additionalProperties", "propertyNames", "$defs"}
_ORDER = [
    *("description", "type", "format", "default", "enum", "minimum", "maximum"),
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
    *("additionalProperties", "items", "required", "properties", RULES),
]


@cache
def schema_of(kind: str) -> Schema:
    """The structural schema (openAPIV3Schema) of a kind. The same object each time: not to be changed.

    Raises KeyError for a kind that is not one of KINDS.
    """
    model = KINDS[kind]
    source = model.model_json_schema(by_alias=True)
    properties = source["properties"]
    definitions = source["$defs"]
    status = _structural(properties["status"], definitions)
    _drop_defaults(status)
    root = {
        "description": source["description"],
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"{GROUP}/{VERSION}.", "type": "string"},
            "kind": {"description": f"{kind}.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": _structural(properties["spec"], definitions),
            "status": status,
        },
    }
    if RULES in source:
        root[RULES] = source[RULES]
    return root


def crd_of(model: type[AnyResource]) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{model.PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": model.KIND,
                "listKind": f"{model.KIND}List",
                "plural": model.PLURAL,
                "singular": model.KIND.lower(),
                "shortNames": [model.SHORT_NAME],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in model.COLUMNS],
                    "schema": {"openAPIV3Schema": schema_of(model.KIND)},
                }
            ],
        },
    }


def _column(column: PrinterColumn) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.jsonPath}
    return {**entry, "priority": 1} if column.wide else entry


def _structural(source: Schema, definitions: Schema) -> Schema:
    """One node, its references resolved and `X | None` taken as an optional X."""
    node = dict(source)
    if "anyOf" in node:
        (inner,) = (option for option in node.pop("anyOf") if option != {"type": "null"})
        node = _merged(inner, node)
    if "$ref" in node:
        node = _merged(definitions[node.pop("$ref").removeprefix("#/$defs/")], node)
    values = node.get("additionalProperties")
    result = {key: value for key, value in node.items() if key not in _LEFT_OUT}
    if isinstance(values, dict):
        result["additionalProperties"] = _structural(values, definitions)
    if "properties" in result:
        result["properties"] = {
            name: _structural(value, definitions) for name, value in result["properties"].items()
        }
    if "items" in result:
        result["items"] = _structural(result["items"], definitions)
    if result.get("type") == "integer":
        result["format"] = "int64"
    match result.get("default", ...):
        case None:
            del result["default"]
        case dict() as default:
            # whole, not {}: the API server applies rules to the default as it stands here
            result["default"] = _without_none(default)
    return {key: result[key] for key in sorted(result, key=_ORDER.index)}


def _merged(inner: Schema, outer: Schema) -> Schema:
    """A node and what stands beside its reference: descriptions and rules add up, the rest is the outer's."""
    merged = {**inner, **outer}
    if "description" in inner and "description" in outer:
        merged["description"] = f"{outer['description']} {inner['description']}"
    if RULES in inner and RULES in outer:
        merged[RULES] = [*inner[RULES], *outer[RULES]]
    return merged


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(item) if isinstance(item, dict) else item
        for name, item in value.items()
        if item is not None
    }


def _drop_defaults(node: Schema) -> None:
    node.pop("default", None)
    children = [*node.get("properties", {}).values(), node.get("items"), node.get("additionalProperties")]
    for child in children:
        if isinstance(child, dict):
            _drop_defaults(child)
