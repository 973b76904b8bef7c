"""A desk over in-memory ports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pik.api.capture_stream import CaptureStream
from pik.api.common import Resource
from pik.api.kinds import AnyResource
from pik.api.storage import Storage
from pik.cli.desk import Desk, Doors
from pik.cli.main import pik
from pik.cli.shelf import Item, Shelf, one_of
from pik.cli.where import Where
from pik.cluster.console import Console
from pik.controller.workshop import Workshop
from pik.domain.arrivals import Arrival
from pik.domain.layout import Layout
from pik.execution.parquet import ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from pik.memory.index import MemoryIndex, MemoryTable
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.memory.system import InlineOffload, ManualClock, SeededEntropy
from pik.ports.provisioning import StorageProvisioner
from pik.ports.sinks import Sink
from reading.streams import START, after

STREAM_ID = "stream1"


class MemoryCloud:
    """One bucket and one table, whatever they are called."""

    def __init__(self, clock: ManualClock) -> None:
        self.bucket, self.table, self._clock = MemoryBucket(), MemoryTable(), clock

    def of(self, stream: CaptureStream) -> MemoryCloud:
        return self

    def provisioner(self, region: str | None) -> StorageProvisioner:
        raise NotImplementedError

    def objects(self, bucket: str, storage: Storage) -> MemoryObjectStore:
        return MemoryObjectStore(self.bucket, self._clock)

    def index(self, table: str, storage: Storage, writes: object = None) -> MemoryIndex:
        return MemoryIndex(self.table)

    def sink(self, target: Any) -> Sink:
        raise NotImplementedError


def manifest(name: str = "things", namespace: str = "tests", **spec: Any) -> CaptureStream:
    """A stream that was provisioned."""
    return CaptureStream.model_validate(
        {
            "metadata": {"name": name, "namespace": namespace, "generation": 1},
            "spec": {"storage": {"prefix": "some"}, **spec},
            "status": {
                "streamID": STREAM_ID,
                "storage": {"bucket": "b", "prefix": "some"},
                "index": {"table": "t"},
            },
        }
    )


class GivenShelf(Shelf):
    """Objects that are there."""

    pause = 0.0
    place = "the office"
    worker = "does anybody work here?"

    def __init__(self, resources: Sequence[AnyResource]) -> None:
        self._items = [
            Item({"kind": resource.KIND, **resource.model_dump(mode="json", by_alias=True)}, "given")
            for resource in resources
        ]

    def idle(self) -> str:
        return ""

    async def items(self, kind: type[Resource]) -> list[Item]:
        return sorted((item for item in self._items if item.key.kind == kind.KIND), key=lambda one: one.key)

    async def look(self, kind: type[Resource], name: str) -> Item | None:
        return one_of(await self.items(kind), kind, name)


class Office:
    """Runs commands at desks that all see the same storage."""

    def __init__(self, directory: Path, *resources: AnyResource) -> None:
        self.clock = ManualClock(START)
        self.columns = 120
        self.cluster: Console | None = None
        self.cloud = MemoryCloud(self.clock)
        self._resources = resources or (manifest(),)
        self._directory = directory
        stream = self.stream()
        asyncio.run(reindex(stream, self.cloud.table.ensure))

    def stream(self, deduplication: Deduplication = Deduplication.ON_WRITE) -> Stream:
        objects = MemoryObjectStore(self.cloud.bucket, self.clock)
        return Stream(
            namespace="tests",
            name="things",
            layout=Layout("some/", STREAM_ID),
            deduplication=deduplication,
            retention_days=None,
            fingerprint_exclude=(),
            objects=objects,
            index=MemoryIndex(self.cloud.table),
            files=SegmentCache(objects, self._directory / "own", InlineOffload()),
            codec=ParquetCodec(),
            clock=self.clock,
            entropy=SeededEntropy(2),
            offload=InlineOffload(),
        )

    def at(self, seconds: float) -> None:
        """Moves the clock to so long after START."""
        self.clock.advance((after(seconds).micros - self.clock.now().micros) / 1e6)

    def capture(self, *arrivals: Arrival) -> None:
        from pik.execution.capture.capture import Capture

        async def ingest() -> None:
            capture = Capture(self.stream())
            await capture.ingest(arrivals)
            await capture.close()

        asyncio.run(ingest())

    @property
    def doors(self) -> Doors:
        @asynccontextmanager
        async def desk(where: Where, endpoint_url: str | None) -> AsyncIterator[Desk]:
            entropy, offload = SeededEntropy(3), InlineOffload()
            workshop = Workshop(
                self.cloud,
                clock=self.clock,
                entropy=entropy,
                offload=offload,
                cache=self._directory / "cache",
                wake=lambda _: None,
            )
            shelf = GivenShelf(self._resources)
            yield Desk(shelf, self.cloud, workshop, self.clock, entropy, offload, cluster=self.cluster)

        @asynccontextmanager
        async def shelf(where: Where) -> AsyncIterator[Shelf]:
            yield GivenShelf(self._resources)

        return Doors(desk, shelf)

    def run(self, *arguments: str) -> Result:
        runner = CliRunner(env={"COLUMNS": str(self.columns)})
        return runner.invoke(pik, arguments, obj=self.doors)

    def ask(self, *arguments: str) -> Any:
        """What a command says in JSON."""
        result = self.run(*arguments, "-o", "json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


def lines(result: Result) -> Sequence[str]:
    return result.stdout.splitlines()
