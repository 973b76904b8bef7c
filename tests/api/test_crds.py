"""The generated CRDs: up to date, structural, described and bounded throughout, each rule in the table."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from api.table import Case, bad, updates
from pik.api.crd import RULES, Schema, crd_of, schema_of
from pik.api.evaluation import compiled
from pik.api.generate import main, rendered
from pik.api.kinds import KINDS
from pik.api.validation import admit
from pik.api.violations import InvalidManifest

CRDS = Path(__file__).parents[2] / "crds"
KEYWORDS = {
    *("description", "type", "format", "default", "enum", "minimum", "maximum", "minLength", "maxLength"),
    *("pattern", "minItems", "maxItems", "minProperties", "maxProperties", "additionalProperties", "items"),
    *(
        "required",
        "properties",
        RULES,
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    ),
}


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Path (with [] for items and values) and schema of every node."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}" if path else name)
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from nodes(schema[inner], f"{path}[]")


ALL = [(f"{kind}:{path}", node) for kind in KINDS for path, node in nodes(schema_of(kind))]


def test_the_files_are_up_to_date() -> None:
    assert {file.name: file.read_text() for file in CRDS.iterdir()} == rendered()
    assert main(["--check", str(CRDS)]) == 0


def test_the_generator_writes_what_differs_and_check_only_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check", str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == []
    assert "capturestreams.yaml: differs from the models" in capsys.readouterr().out
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    (tmp_path / "replayjobs.yaml").write_text("spec: {}")
    assert main(["--check", str(tmp_path)]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_crd_reads_back_as_it_was_built(kind: str) -> None:
    model = KINDS[kind]
    assert yaml.safe_load(rendered()[f"{model.PLURAL}.yaml"]) == crd_of(model)


def test_names_and_columns_are_those_of_the_design() -> None:
    specs = {kind: crd_of(model)["spec"] for kind, model in KINDS.items()}
    names = {kind: (*spec["names"]["shortNames"], spec["names"]["plural"]) for kind, spec in specs.items()}
    assert names == {
        "CaptureStream": ("cst", "capturestreams"),
        "ReplayJob": ("rj", "replayjobs"),
        "AggregateVersion": ("av", "aggregateversions"),
    }
    assert {tuple(spec["names"]["categories"]) for spec in specs.values()} == {("pik",)}
    assert {(spec["group"], spec["scope"]) for spec in specs.values()} == {("pik.dev", "Namespaced")}
    assert {spec["versions"][0]["name"] for spec in specs.values()} == {"v1alpha1"}
    columns = {
        kind: [(c["name"], c.get("priority", 0)) for c in spec["versions"][0]["additionalPrinterColumns"]]
        for kind, spec in specs.items()
    }
    assert columns["CaptureStream"] == [
        *(("Ready", 0), ("Reason", 0), ("Bucket", 0), ("Events", 0), ("Last event", 0), ("Age", 0)),
        *(("Conflicts", 1), ("Message", 1)),
    ]
    assert columns["ReplayJob"] == [
        *(("Mode", 0), ("State", 0), ("Matched", 0), ("Sent", 0), ("Failed", 0), ("Age", 0)),
        ("Message", 1),
    ]
    assert columns["AggregateVersion"] == [
        *(("Ready", 0), ("Version", 0), ("Inputs", 0), ("As of", 0), ("Changed", 0), ("Age", 0)),
        ("Message", 1),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_show_fields_that_exist(kind: str) -> None:
    known = {path for path, _ in nodes(schema_of(kind))}
    for column in KINDS[kind].COLUMNS:
        path = re.sub(r"\[\?.*\]", "[]", column.jsonPath).removeprefix(".")
        assert path in known | {"metadata.creationTimestamp"}, column


def test_nodes_are_structural() -> None:
    for place, node in ALL:
        assert set(node) <= KEYWORDS, place
        assert isinstance(node.get("type"), str) != ("x-kubernetes-int-or-string" in node), place
        assert not {"properties", "additionalProperties"} <= set(node), place
        assert (node.get("type") == "array") == ("items" in node), place
        assert set(node.get("required", ())) <= set(node.get("properties", ())), place


def test_every_field_is_described() -> None:
    for place, node in ALL:
        if not place.endswith(("metadata", "[]")):
            assert node["description"].endswith("."), place
            assert len(node["description"]) >= 10, place


def test_everything_is_bounded() -> None:
    for place, node in ALL:
        if place.partition(":")[2] in ("", "apiVersion", "kind", "metadata"):
            continue
        match node.get("type"):
            case None:
                assert node["minimum"] <= node["maximum"] <= 2**53 - 1, place
                assert node["maxLength"] <= 32, place
            case "string":
                assert "enum" in node or node["maxLength"] <= 32768, place
            case "integer":
                assert node["minimum"] <= node["maximum"] <= 2**53 - 1, place
                assert node["format"] == "int64", place
            case "array":
                assert node["maxItems"] <= 1000, place
                assert node["x-kubernetes-list-type"] in ("atomic", "set", "map"), place
            case "object":
                assert "properties" in node or node["maxProperties"] <= 40, place
            case kind:
                assert kind == "boolean", place


def test_patterns_mean_the_same_everywhere() -> None:
    """Anchored at both ends, no $ or ^ within (line ends), no class that is ASCII here and Unicode there."""
    for place, node in ALL:
        if pattern := node.get("pattern"):
            outside_classes = re.sub(r"\[(\\.|[^\]])*\]", "", pattern)
            assert outside_classes.startswith("^"), place
            assert outside_classes.endswith("$"), place
            assert not set("^$") & set(outside_classes[1:-1]), place
            assert not re.search(r"\\[dswDSWbB]", pattern), place


def test_no_status_has_a_default_and_spec_says_its_own_in_full() -> None:
    for place, node in ALL:
        path = place.partition(":")[2]
        if path.startswith("status"):
            assert "default" not in node, place
        if node.get("type") == "object" and "default" in node:
            fields = node["properties"]
            assert node["default"] == {name: f["default"] for name, f in fields.items() if "default" in f}


RULES_OF = [(place, rule) for place, node in ALL for rule in node.get(RULES, ())]


@pytest.mark.parametrize(("place", "rule"), RULES_OF, ids=[f"{p} {r['message']}" for p, r in RULES_OF])
def test_rules_compile_and_speak_of_a_field_that_exists(place: str, rule: dict[str, str]) -> None:
    compiled(rule["rule"])
    kind, _, path = place.partition(":")
    field = f"{path}{rule.get('fieldPath', '')}".removeprefix(".")
    assert field in {known for known, _ in nodes(schema_of(kind))}
    assert len(rule["message"]) <= 2048
    assert "\n" not in rule["message"]


def told(case: Case) -> set[tuple[str, str, str]]:
    """Kind, path (with [] for an index) and message of each violation of a case."""
    old = None if case.old is None else {**admit(case.old).manifest, "status": case.old.get("status", {})}
    try:
        admit(case.manifest, old)
    except InvalidManifest as refusal:
        return {
            (case.manifest.get("kind", ""), re.sub(r"\[\d+\]", "[]", v.path), v.message)
            for v in refusal.violations
        }
    return set()


@pytest.fixture(scope="module")
def all_told() -> set[tuple[str, str, str]]:
    return {violation for case in [*bad(), *updates()] for violation in told(case)}


@pytest.mark.parametrize(("place", "rule"), RULES_OF, ids=[f"{p} {r['message']}" for p, r in RULES_OF])
def test_every_rule_has_its_case_in_the_table(
    place: str, rule: dict[str, str], all_told: set[tuple[str, str, str]]
) -> None:
    kind, _, path = place.partition(":")
    field = f"{path}{rule.get('fieldPath', '')}".removeprefix(".")
    same_type = {  # one type, used in several fields: a case for one of them is enough
        "spec.mapping.eventType": "spec.mapping.entityID",
        "spec.mapping.source": "spec.mapping.entityID",
        "spec.window.from": "spec.asOf",
        "spec.window.to": "spec.asOf",
        "spec.select.window.to": "spec.select.window.from",
    }
    field = same_type.get(field, field)
    assert any(k == kind and p == field and rule["message"] in message for k, p, message in all_told)


def test_importing_the_models_is_cheap() -> None:
    """Nothing of the validator is loaded by the models, and nothing at all by the package."""
    heavy = "{'cel', 'jsonschema', 'yaml', 'duckdb', 'pyarrow', 'boto3'}"
    for module in ("pik.api", "pik.api.kinds", "pik.api.conditions", "pik.api.crd"):
        program = f"import sys, {module}; found = {heavy} & set(sys.modules); assert not found, found"
        subprocess.run([sys.executable, "-c", program], check=True)
    program = "import sys, pik.api; assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
