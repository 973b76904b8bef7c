"""A stream in local mode that asks for functions and sources: deployed on the emulator from their packages,
fed by real queues, streams, buses and objects, and taken away again."""

from __future__ import annotations

import asyncio
import gzip
import json
import platform
import shutil
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from functions.deployed import REGION, Packages
from functions.requests import EVENT
from pik.aws.clients import AwsAccess, AwsClients
from pik.controller.objects import ObjectKey
from pik.controller.world import Timing
from pik.local.state import State
from pik.local.up import LocalMode, Teller, UpSettings, local_mode

pytestmark = pytest.mark.emulator

KEY = ObjectKey("CaptureStream", "default", "orders")
TIMING = Timing(resync=3.0, counters=1.0, seals=60.0, orphans=600.0, rebuild=1.0, settle=0.0)
ROLE = "arn:aws:iam::000000000000:role/pik"
PATIENCE = 150.0  # seconds; cold starts on a busy machine


class Orders:
    """The stream, in local mode, and hands at AWS beside it."""

    def __init__(self, endpoint: str, folder: Path, packages: Packages) -> None:
        self.endpoint = endpoint
        self.folder = folder
        self.packages = folder / "packages"
        self.packages.mkdir(parents=True)
        for function in ("ingest", "replay", "processor"):
            shutil.copy(packages(function), self.packages)
        self.access = AwsAccess(endpoint_url=endpoint, region=REGION)
        clients = AwsClients(self.access)
        self.s3 = clients.client("s3")
        self.sqs: Any = clients.client("sqs")
        self.functions: Any = clients.client("lambda")
        self.kinesis: Any = clients.client("kinesis")
        self.events: Any = clients.client("events")
        self.unique = uuid4().hex[:12]
        self.mode: LocalMode | None = None

    @property
    def archive(self) -> str:
        return f"archive-{self.unique}"

    def apply(self, **ingest: Any) -> None:
        spec: dict[str, Any] = {
            "storage": {
                "prefix": "o",
                "bucket": {"name": f"orders-{self.unique}"},
                "deletionPolicy": "Delete",
            },
            "ingest": ingest,
            "processing": {
                "roleARN": ROLE,
                "bucket": "Day",
                "measures": [{"name": "amount", "expression": "sum(payload.amount)"}],
            },
            "replay": {"lambda": {"roleARN": ROLE}},
        }
        manifest = {
            "apiVersion": "pik.dev/v1alpha1",
            "kind": "CaptureStream",
            "metadata": {"name": "orders"},
            "spec": spec,
        }
        (self.folder / "streams").mkdir(exist_ok=True)
        (self.folder / "streams" / "orders.yaml").write_text(yaml.safe_dump(manifest))

    @asynccontextmanager
    async def up(self) -> AsyncIterator[LocalMode]:
        state = State(self.folder / "streams")
        state.create()
        with state.locked():
            settings = UpSettings(timing=TIMING, functions=self.packages)
            async with local_mode(state, self.access, settings, Teller()) as mode:
                self.mode = mode
                yield mode

    @property
    def status(self) -> Any:
        assert self.mode is not None
        found = self.mode.objects.find(KEY)
        assert found is not None
        return found.status

    def condition(self, kind: str) -> tuple[str, str] | None:
        found = next((each for each in self.status.conditions if each.type == kind), None)
        return None if found is None else (found.status, found.reason)

    def source(self, name: str) -> Any:
        return next(each for each in self.status.sources if each.name == name)

    def read_objects(self) -> int:
        progress = self.source("old").progress
        return 0 if progress is None else int(progress.objects)

    def function(self, name: str) -> Any:
        return next(each for each in self.status.functions if each.name == name)

    async def until(self, look: Any) -> None:
        assert self.mode is not None
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(look):
                self.mode.check()
                await asyncio.sleep(0.2)

    def rows(self) -> list[dict[str, Any]]:
        """What lies in raw, by pyarrow alone."""
        bucket = f"orders-{self.unique}"
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="o/raw/")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        bodies = [self.s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys]
        return [row for body in bodies for row in pq.read_table(BytesIO(body)).to_pylist()]

    def has(self, *keys: str) -> bool:
        return {row["idempotency_key"] for row in self.rows()} >= set(keys)

    def ask(self, event: dict[str, Any]) -> httpx.Response:
        identity = self.function("ingest").url.removeprefix("https://").partition(".")[0]
        return httpx.post(f"{self.endpoint}/_aws/lambda-url/{identity}/", json=event, timeout=60)


def event(key: str, **changes: Any) -> dict[str, Any]:
    return {**EVENT, "idempotency_key": key, **changes}


@pytest.fixture
def orders(emulator: str, tmp_path: Path, packages: Packages) -> Orders:
    return Orders(emulator, tmp_path, packages)


async def test_functions_and_sources_from_manifest_to_deletion(orders: Orders) -> None:
    orders.s3.create_bucket(Bucket=orders.archive)
    lines = "\n".join(json.dumps(event(f"s3-{n}")) for n in range(20)).encode()
    orders.s3.put_object(Bucket=orders.archive, Key="old/a.gz", Body=gzip.compress(lines))
    bus = {"pattern": json.dumps({"source": [orders.unique]}), "entityID": {"paths": ["order"]}}
    orders.apply(
        **{"lambda": {"roleARN": ROLE, "url": {"authType": "None"}, "timeoutSeconds": 30}},
        sources=[
            {"name": "queue", "type": "SQS", "sqs": {"maxReceiveCount": 2}},
            {"name": "clicks", "type": "Kinesis", "kinesis": {}},
            {"name": "bus", "type": "EventBridge", "eventBridge": bus},
            {
                "name": "old",
                "type": "S3",
                "s3": {
                    "bucket": orders.archive,
                    "prefix": "old/",
                    "format": "NDJSON",
                    "compression": "Gzip",
                },
            },
        ],
    )
    async with orders.up():
        await orders.until(lambda: orders.condition("Ready") == ("True", "Provisioned"))
        await orders.until(lambda: orders.read_objects() == 1)

        def send() -> None:
            assert orders.ask(event("url")).json()["answers"][0]["status"] == "ACCEPTED"
            assert orders.ask(event("url")).json()["answers"][0]["status"] == "DUPLICATE"
            queue = orders.source("queue").address
            orders.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(event("sqs")))
            stream = orders.source("clicks").address
            data = json.dumps(event("kinesis")).encode()
            orders.kinesis.put_record(StreamARN=stream, Data=data, PartitionKey="k")
            entry = {
                "Source": orders.unique,
                "DetailType": "paid",
                "Detail": json.dumps({"order": "order-7", "amount": 3}),
            }
            assert orders.events.put_events(Entries=[entry])["FailedEntryCount"] == 0

        await asyncio.to_thread(send)
        everything = [f"s3-{n}" for n in range(20)] + ["url", "sqs", "kinesis"]
        await orders.until(lambda: orders.has(*everything))
        await orders.until(lambda: any(row["entity_id"] == "order-7" for row in orders.rows()))

        await asyncio.to_thread(_replays_into_processing, orders)
        bucket = f"orders-{orders.unique}"
        await orders.until(
            lambda: "Contents" in orders.s3.list_objects_v2(Bucket=bucket, Prefix="o/aggregates/answers/")
        )

        (orders.folder / "streams" / "orders.yaml").unlink()
        await orders.until(lambda: orders.mode is not None and orders.mode.objects.find(KEY) is None)
        there = await asyncio.to_thread(orders.functions.list_functions)
        names = [function["FunctionName"] for function in there["Functions"]]
        assert not [name for name in names if "default-orders" in name]
        queues = await asyncio.to_thread(orders.sqs.list_queues, QueueNamePrefix="pik-default-orders")
        assert queues.get("QueueUrls", []) == []
        kept = await asyncio.to_thread(orders.s3.list_objects_v2, Bucket=orders.archive)
        assert kept["KeyCount"] == 1


def _replays_into_processing(orders: Orders) -> None:
    """By the kit's call, as whoever is on call makes it."""
    call = {
        "entity_id": EVENT["entity_id"],
        "start_time": "2013-07-10T00:00:00Z",
        "end_time": "2013-07-11T00:00:00Z",
    }
    answer = orders.functions.invoke(
        FunctionName=orders.function("replay").arn, Payload=json.dumps(call).encode()
    )
    told = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, told
    assert (told["scanned"], told["sent"]) == (23, 23)


async def test_a_release_that_does_not_work_gets_no_events(orders: Orders) -> None:
    orders.apply(**{"lambda": {"roleARN": ROLE, "url": {"authType": "None"}}})
    machine = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
    package = orders.packages / f"ingest-{machine}.zip"
    good = package.read_bytes()
    async with orders.up():
        await orders.until(lambda: orders.condition("Ready") == ("True", "Provisioned"))
        first = orders.function("ingest").version
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("handler.py", "import no_such_module\n\ndef handle(event, context): ...\n")
        await orders.until(lambda: orders.condition("FunctionsReady") == ("False", "FunctionUnhealthy"))
        assert "no_such_module" in str(orders.status.conditions)
        answer = await asyncio.to_thread(orders.ask, event("meanwhile"))
        assert answer.json()["answers"][0]["status"] == "ACCEPTED"
        assert orders.function("ingest").version == first
        package.write_bytes(good)
        await orders.until(lambda: orders.condition("Ready") == ("True", "Provisioned"))
        (orders.folder / "streams" / "orders.yaml").unlink()
        await orders.until(lambda: orders.mode is not None and orders.mode.objects.find(KEY) is None)
