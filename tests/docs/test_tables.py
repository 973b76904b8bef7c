"""Tables that follow from the code are what the code says now."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

from docs.pages import DOCS, PAGES
from pik.api.conditions import REASONS
from pik.domain.payloads import Reason
from pik.execution.verify.findings import Kind


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_every_generated_table_is_up_to_date(generate: ModuleType, page: object) -> None:
    text = page.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert generate.rendered(text) == text, "run: python docs/generate.py"


def test_every_table_stands_on_a_page(generate: ModuleType) -> None:
    marks = {name for page in PAGES for name in re.findall(r"<!-- generated: (.+?) -->", page.read_text())}
    assert marks == generate.tables().keys()


def test_there_is_advice_for_every_reason_and_for_no_other(generate: ModuleType) -> None:
    reasons = {reason.value for told in REASONS.values() for each in told.values() for reason in each}
    assert generate.advice().keys() == reasons
    assert all(text.strip() for text in generate.advice().values())


def test_a_table_that_is_out_of_date_is_seen(generate: ModuleType) -> None:
    text = (DOCS / "rejections.md").read_text(encoding="utf-8")
    stale = text.replace(f"| `{Reason.NOT_FINITE}` ", "| `Infinite` ")
    assert stale != text
    assert generate.rendered(stale) == text


def test_every_finding_of_verify_is_explained() -> None:
    page = (DOCS / "inspect.md").read_text(encoding="utf-8")
    assert [kind for kind in Kind if f"`{kind}`" not in page] == []
