"""Values are checked: each is described, and none is taken that the chart does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from chart.rendering import CHART, FILES, VALUES, Helm, value_files

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    return {**SCHEMA["$defs"][node["$ref"].removeprefix("#/$defs/")], **node}


def nodes(
    node: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    whole = resolved(node)
    yield path, whole
    for name, child in whole.get("properties", {}).items():
        yield from nodes(child, (*path, name))
    if "items" in whole:
        yield from nodes(whole["items"], (*path, "0"))


OBJECTS = [path for path, node in nodes(SCHEMA) if "properties" in node and "0" not in path]


def test_the_schema_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)


def test_every_object_is_closed_and_every_value_described() -> None:
    for path, node in nodes(SCHEMA):
        place = ".".join(path)
        if "properties" in node:
            assert node["additionalProperties"] is False, place
        # what Kubernetes defines is described there
        if path and "0" not in path and not {"resources", "affinity"} & set(path[:-1]):
            assert node["description"].endswith("."), place


def test_every_value_has_a_default_and_every_default_is_a_value() -> None:
    def same(node: dict[str, Any], default: Any, place: str) -> None:
        known = resolved(node)
        if "properties" not in known or place.rpartition(".")[2] in ("resources", "affinity"):
            return
        assert set(default) == set(known["properties"]) - {"global"}, place
        for name, child in known["properties"].items():
            if name != "global":
                same(child, default[name], f"{place}.{name}")

    same(SCHEMA, DEFAULTS, "")


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: ".".join(path) or "top")
def test_an_unknown_value_is_refused_at_every_place(path: tuple[str, ...]) -> None:
    values = json.loads(json.dumps({**DEFAULTS, "clusterName": "c"}))
    assert not list(Draft7Validator(SCHEMA).iter_errors(values))
    at = values
    for name in path:
        at = at.setdefault(name, {})
    at["unheardOf"] = 1
    assert "unheardOf" in " ".join(error.message for error in Draft7Validator(SCHEMA).iter_errors(values))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("gatway.replicas=2", "additional properties 'gatway' not allowed"),
        ("gateway.ingress.host=x", "additional properties 'host' not allowed"),
        ("executor=Threads", "value must be one of 'Jobs', 'InProcess'"),
        ("clusterName=a/b", "does not match pattern"),
        ("watchNamespaces={UPPER}", "does not match pattern"),
        ("forbiddenNetworks={10.0.0.1}", "does not match pattern"),
        ("operator.replicas=0", "minimum"),
        ("roles[0].roleARN=x", "missing properties 'namespaces', 'externalID'"),
        ("gateway.ingress.enabled=true", "gateway.ingress.hosts is required"),
        ("operator.serviceAccount.create=false", "operator.serviceAccount.name is required"),
    ],
)
def test_helm_says_what_is_wrong(helm: Helm, setting: str, said: str) -> None:
    refused = helm.run("template", "pik", CHART, "--set", "clusterName=c", "--set", setting)
    assert refused.returncode
    assert said in refused.stderr


@pytest.mark.parametrize("name", FILES)
def test_what_the_tests_use_is_taken(name: str) -> None:
    values = yaml.safe_load((VALUES / f"{name}.yaml").read_text())
    assert not list(Draft7Validator(SCHEMA).iter_errors(values))
    assert value_files(name)
