"""Every manifest that people may copy is admitted, and its expressions are understood."""

from __future__ import annotations

import json
import re

import pytest

from docs.pages import DOCS, PAGES, ROOT, blocks
from pik.api.aggregate_version import AggregateVersion
from pik.api.capture_stream import CaptureStream
from pik.api.manifests import Manifest, load_path, load_text
from pik.api.replay_job import ReplayJob
from pik.api.validation import admit
from pik.controller.intake_rules import intake_rules
from pik.domain.arrivals import Rejection
from pik.domain.decode import decode_event
from pik.domain.intake import Decoded, IntakeRules
from pik.planning.aggregate_sql import query_of
from pik.planning.definitions import definition_of
from pik.planning.expressions import parse_condition

_ROW = re.compile(r"^\| (\d) \| (.*?) \| (.*?) \| (.*?) \|", re.MULTILINE)
MANIFESTS = [
    manifest
    for page in PAGES
    for block in blocks(page, "yaml")
    for manifest in load_text(block.text, str(block))
    if manifest.value.get("apiVersion", "").startswith("pik.dev/")  # others: chart and gitops
] + [
    manifest
    for file in sorted((ROOT / "examples").rglob("*.yaml"))
    for manifest in load_path(file)
    if manifest.value.get("apiVersion", "").startswith("pik.dev/")  # others: of the cluster's story
]


@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda manifest: manifest.place().removeprefix(f"{ROOT}/")
)
def test_every_manifest_is_admitted(manifest: Manifest) -> None:
    resource = admit(manifest.value).resource
    if isinstance(resource, AggregateVersion):
        definition = definition_of(resource.spec, "stream")
        assert query_of(definition).columns
        assert definition.zone
    if isinstance(resource, ReplayJob) and resource.spec.select.where is not None:
        assert parse_condition(resource.spec.select.where)


def test_each_kind_has_a_manifest_with_every_field_of_its_spec() -> None:
    """But for those that pik writes, and those that exclude each other."""
    shown: dict[str, set[str]] = {}
    for manifest in MANIFESTS:
        shown.setdefault(manifest.value["kind"], set()).update(manifest.value["spec"])
    for kind, others in ((CaptureStream, set()), (ReplayJob, {"approval"}), (AggregateVersion, set())):
        fields = {
            field.alias or name
            for name, field in kind.model_fields["spec"].annotation.model_fields.items()  # type: ignore[union-attr]
        }
        assert fields - shown[kind.KIND] == others


def test_the_example_of_a_mapping_gives_what_its_table_says() -> None:
    page = DOCS / "capturestream.md"
    full = max(blocks(page, "yaml"), key=lambda block: len(block.text))
    resource = admit(load_text(full.text)[0].value).resource
    assert isinstance(resource, CaptureStream)
    rules = intake_rules(resource.spec)
    rows = blocks(page, "json")[0].text.splitlines()
    table = re.findall(
        r"^\| (\d) \| (.*?) \| (.*?) \| (.*?) \|", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [int(number) for number, *_ in table] == list(range(1, len(rows) + 1))
    for row, (_, source, entity, key) in zip(rows, table, strict=True):
        taken = decode_event(row.encode(), rules)
        if isinstance(taken, Rejection):
            assert (source, entity.strip("`")) == ("rejected", taken.reason)
        else:
            arrival = taken.arrival
            assert source.strip("`") == arrival.source
            assert entity.strip("`") == arrival.entity_id
            assert (None if key == "none" else key.strip("`")) == arrival.idempotency_key
            assert json.loads(arrival.data) == json.loads(row)


def test_the_event_on_the_page_about_http_is_taken() -> None:
    event = blocks(DOCS / "http.md", "json")[0].text
    assert isinstance(decode_event(event.strip().encode(), IntakeRules()), Decoded)
