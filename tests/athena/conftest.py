"""A stream whose bucket is the emulator's, and the emulator's Athena and Glue over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from aggregate.questions import definition
from pik.aws.athena import AthenaQueries
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.glue_catalog import GlueCatalog
from pik.aws.s3_objects import S3ObjectStore
from pik.aws.system import SystemClock, ThreadOffload
from pik.domain.layout import Layout
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication
from pik.memory.index import MemoryIndex, MemoryTable
from pik.memory.system import InlineOffload
from pik.planning.definitions import Definition
from pik.planning.trino.tables import DATABASE, table_name, wanted_table
from reading.streams import World, world


@dataclass
class Emulated:
    """`glue`, `athena`: boto3's clients. `connect`: queries and catalog by another endpoint."""

    world: World
    queries: AthenaQueries
    catalog: GlueCatalog
    glue: Any
    athena: Any
    bucket: str
    connect: Callable[[str], tuple[AthenaQueries, GlueCatalog]]

    @property
    def table(self) -> str:
        return table_name(self.world.stream.layout.stream_id)

    def asking(self, *question: Any, **how: Any) -> Definition:
        """`aggregate.questions.definition` of this stream."""
        stream_id = self.world.stream.layout.stream_id
        return structs.replace(definition(*question, **how), stream_id=stream_id)

    async def ensure(self) -> None:
        stream = self.world.stream
        await self.catalog.ensure(DATABASE, self.table, wanted_table(self.bucket, stream.layout))


@pytest.fixture
async def emulated(
    emulator: str, tmp_path: Path, unique: str, request: pytest.FixtureRequest
) -> AsyncIterator[Emulated]:
    io = ThreadOffload(8, "aws")

    def connect(endpoint: str) -> tuple[AthenaQueries, GlueCatalog]:
        clients = AwsClients(AwsAccess(endpoint_url=endpoint))
        queries = AthenaQueries(
            clients.client("athena"),
            clients.client("s3"),
            io,
            work_group="primary",
            output=f"s3://{unique}/some/prefix/athena/",
            emulated=True,
        )
        return queries, GlueCatalog(clients.client("glue"), io)

    clients = AwsClients(AwsAccess(endpoint_url=emulator))
    s3, athena, glue = clients.client("s3"), clients.client("athena"), clients.client("glue")
    s3.create_bucket(Bucket=unique)
    made = await world(tmp_path / "memory", getattr(request, "param", Deduplication.ON_WRITE))
    table = MemoryTable()
    objects = S3ObjectStore(clients.quick_s3(s3), unique, io, SystemClock())
    stream = replace(
        made.stream,
        layout=Layout("some/prefix/", unique.replace("-", "")),
        objects=objects,
        index=MemoryIndex(table),
        files=SegmentCache(objects, tmp_path / "cache", InlineOffload()),
    )
    made = replace(made, stream=stream, table=table)
    # objects get the emulator's time
    made.clock.advance((SystemClock().now().micros - made.clock.now().micros) / 1_000_000)
    await made.ready()
    queries, catalog = connect(emulator)
    yield Emulated(made, queries, catalog, glue, athena, unique, connect)
    io.close()
