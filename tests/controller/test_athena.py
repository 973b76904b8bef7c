"""AggregateVersions that Athena computes: the table, the queries, and what their objects say."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from athena.service import DuckDBService
from controller.clusters import Cluster
from controller.manifests import STREAM, VERSION, events
from docs.pages import DOCS, blocks
from pik.controller.objects import ObjectKey
from pik.domain.errors import Denied
from pik.planning.trino.tables import DATABASE, table_name
from pik.ports.queries import QueryState, QueryStatus

ATHENA = VERSION + "  engine: Athena\n"
OTHER = ATHENA.replace("{name: total}", "{name: other}")


@pytest.fixture
async def stream(cluster: Cluster, tmp_path: Path) -> ObjectKey:
    key = cluster.apply(STREAM)
    await cluster.settle()
    await cluster.ingest(key, events(6))
    await cluster.settle()
    bucket = cluster.account.bucket(cluster.status(key).storage.bucket)
    cluster.cloud.athena = DuckDBService(bucket, tmp_path / "athena")
    return key


def service(cluster: Cluster) -> DuckDBService:
    found = cluster.cloud.athena
    assert isinstance(found, DuckDBService)
    return found


def table(cluster: Cluster, stream: ObjectKey) -> tuple[str, str]:
    return DATABASE, table_name(cluster.status(stream).streamID)


def message(cluster: Cluster, key: ObjectKey) -> str:
    return str(next(one.message for one in cluster.status(key).conditions if one.type == "Stalled"))


def reasons(cluster: Cluster, key: ObjectKey) -> list[str]:
    return [event.reason for of, event in cluster.objects.events if of == key]


async def test_the_answer_does_not_depend_on_the_engine(cluster: Cluster, stream: ObjectKey) -> None:
    here = cluster.apply(VERSION)
    await cluster.settle()
    execution = "  execution: {athena: {workGroup: cheap}}\n"
    there = cluster.apply(OTHER + execution + "  compareTo: {name: total}\n")
    await cluster.settle()
    assert cluster.condition(there, "Ready") == ("True", "Succeeded")
    one, other = cluster.status(here), cluster.status(there)
    assert (one.version, one.athena) == (other.version, None)
    assert other.difference.rowsChanged == 0
    database, name = table(cluster, stream)
    assert (other.athena.database, other.athena.table, other.athena.workGroup) == (database, name, "cheap")
    assert other.athena.queryExecutionIDs == tuple(service(cluster).texts)
    assert other.athena.bytesScanned > 0
    bucket = cluster.status(stream).storage
    assert cluster.cloud.asked == [("cheap", f"s3://{bucket.bucket}/{bucket.prefix}/athena/")]


async def test_the_manifest_on_the_page(cluster: Cluster, tmp_path: Path) -> None:
    stream = cluster.apply(STREAM.replace("{name: things}", "{name: orders}"))
    await cluster.settle()
    bucket = cluster.account.bucket(cluster.status(stream).storage.bucket)
    cluster.cloud.athena = DuckDBService(bucket, tmp_path / "athena")
    (block,) = blocks(DOCS / "athena.md", "yaml")
    key = cluster.apply(block.text)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")


async def test_the_table_is_made_and_set_right(cluster: Cluster, stream: ObjectKey) -> None:
    key = cluster.apply(ATHENA)
    await cluster.settle()
    assert "TableCreated" in reasons(cluster, key)
    place = table(cluster, stream)
    made = cluster.cloud.glue.tables[place]
    cluster.cloud.glue.tables[place] = structs.replace(made, location="s3://elsewhere/")
    other = cluster.apply(OTHER)
    await cluster.settle()
    assert cluster.cloud.glue.tables[place] == made
    assert "TableRepaired" in reasons(cluster, other)
    assert cluster.condition(other, "Ready") == ("True", "Succeeded")


@pytest.mark.parametrize("expression", ["median(payload.amount)", "sum(payload.amount / 3)"])
async def test_what_has_no_exact_form_is_refused(
    cluster: Cluster, stream: ObjectKey, expression: str
) -> None:
    key = cluster.apply(ATHENA.replace("sum(payload.amount)", expression))
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "ExpressionNotSupported")
    assert "measures[amount]" in message(cluster, key)
    assert service(cluster).texts == {}


async def test_a_failed_query_is_told_and_tried_again(cluster: Cluster, stream: ObjectKey) -> None:
    failing = service(cluster)
    failing.fail = {"leaf_0": QueryStatus(QueryState.FAILED, "HIVE_CURSOR_ERROR: a bad page")}
    key = cluster.apply(ATHENA)
    await cluster.settle()
    assert cluster.condition(key, "Failed") == ("True", "QueryFailed")
    assert "HIVE_CURSOR_ERROR" in message(cluster, key)
    failing.fail = {}
    cluster.clock.advance(1000)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")


@pytest.mark.parametrize("engine", ["Athena", "DuckDB"])
async def test_the_table_goes_with_its_stream(cluster: Cluster, tmp_path: Path, engine: str) -> None:
    """And Glue is not asked where Athena never was."""
    stream = cluster.apply(STREAM.replace("storage: {", "storage: {deletionPolicy: Delete, "))
    await cluster.settle()
    await cluster.ingest(stream, events(6))
    bucket = cluster.account.bucket(cluster.status(stream).storage.bucket)
    cluster.cloud.athena = DuckDBService(bucket, tmp_path / "athena")
    key = cluster.apply(VERSION + f"  engine: {engine}\n")
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Succeeded")
    assert len(cluster.cloud.glue.tables) == (engine == "Athena")
    cluster.delete(stream)
    await cluster.settle()
    assert stream not in cluster.objects.there
    assert cluster.cloud.glue.tables == {}
    assert cluster.cloud.calls["catalog.drop"] == (engine == "Athena")


async def test_rights_that_lack_are_told(cluster: Cluster, stream: ObjectKey) -> None:
    cluster.cloud.fault = lambda call: Denied("glue:GetTable") if call == "catalog.ensure" else None
    key = cluster.apply(ATHENA)
    await cluster.settle()
    assert cluster.condition(key, "Stalled") == ("True", "AWSRefused")


async def test_suspension_stops_the_query(cluster: Cluster, stream: ObjectKey) -> None:
    service(cluster).looks = 10**9
    key = cluster.apply(ATHENA)
    await cluster.manager.one(key)
    await service(cluster).started.wait()
    cluster.apply(ATHENA + "  suspend: true\n")
    await cluster.manager.one(key)
    assert service(cluster).stopped == ["query-0"]
    assert cluster.condition(key, "Ready") == ("False", "Suspended")
