"""The manifests on the pages about sources and functions are carried out."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.clusters import Cluster
from docs.pages import DOCS, blocks

PAGES = sorted(page.name for page in (DOCS / "sources").glob("*.md"))


@pytest.mark.parametrize("page", PAGES)
async def test_it_is_carried_out(tmp_path: Path, page: str) -> None:
    cluster = Cluster(tmp_path)
    cluster.account.bucket("acme-archive").exists = True
    key = cluster.apply(blocks(DOCS / "sources" / page, "yaml")[0].text)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.condition(key, "SourcesReady") == ("True", "Provisioned")
    assert [each.state for each in cluster.status(key).sources] == ["Reading"]


@pytest.mark.parametrize("function", ["ingest", "replay", "processor"])
async def test_a_function_is_deployed(tmp_path: Path, function: str) -> None:
    cluster = Cluster(tmp_path)
    key = cluster.apply(blocks(DOCS / "functions" / f"{function}.md", "yaml")[0].text)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert cluster.condition(key, "FunctionsReady") == ("True", "Provisioned")
    (deployed,) = cluster.status(key).functions
    assert (deployed.name, deployed.version) == (function, "1")
    assert (deployed.queueURL is not None) is (function != "ingest")


def test_there_is_a_page_for_each_type() -> None:
    assert PAGES == ["event-bridge.md", "kinesis.md", "s3.md", "sqs.md"]
