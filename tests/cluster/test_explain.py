"""`kubectl explain` reads well: every field of every kind is there, and says what it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from clusters_for_tests import Kubectl
from pik.api.crd import Schema, schema_of
from pik.api.kinds import KINDS

FIELD = re.compile(r"^  (?P<name>[A-Za-z][A-Za-z0-9-]*)\t<(?P<type>[^\n]*)>(?P<required> -required-)?$")


def objects(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Path and schema of every object with fields, items of lists too."""
    if "items" in schema:
        yield from objects(schema["items"], path)
    if "properties" in schema:
        yield path, schema
        for name, field in schema["properties"].items():
            if name != "metadata" or path:
                yield from objects(field, f"{path}.{name}")


def explained(text: str) -> dict[str, list[str]]:
    """Each field of an answer, and the lines that are said of it."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.partition("\nFIELDS:\n")[2].splitlines():
        field = FIELD.match(line)
        if field is not None:
            lines = found[field["name"]] = []
        elif line.strip():
            lines.append(line.strip())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_explained(kind: str, kubectl: Kubectl) -> None:
    wanted = list(objects(schema_of(kind)))
    assert len(wanted) > 5

    def ask(path: str) -> str:
        return kubectl("explain", f"{KINDS[kind].PLURAL}{path}")

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, [path for path, _ in wanted]))
    for (path, schema), answer in zip(wanted, answers, strict=True):
        shown = explained(answer)
        assert shown.keys() == schema["properties"].keys(), path
        for name, field in schema["properties"].items():
            said = " ".join(line for line in shown[name] if not line.startswith("enum: "))
            if not path and name in ("apiVersion", "kind", "metadata"):
                continue  # of these the API server says the same for every kind
            assert said == " ".join(field["description"].split()), f"{path}.{name}"


@pytest.mark.parametrize("short", [model.SHORT_NAME for model in KINDS.values()])
def test_a_kind_is_explained_by_its_short_name(short: str, kubectl: Kubectl) -> None:
    text = kubectl("explain", short)
    (model,) = (model for model in KINDS.values() if short == model.SHORT_NAME)
    assert f"KIND:       {model.KIND}" in text
    described = " ".join(text.partition("DESCRIPTION:")[2].partition("FIELDS:")[0].split())
    assert described == " ".join(schema_of(model.KIND)["description"].split())
