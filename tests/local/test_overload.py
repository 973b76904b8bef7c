"""Twice what it can take: what is taken is answered in time and is there, the rest is told when to come
again."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from pik.aws.clients import AwsAccess, AwsClients

pytestmark = pytest.mark.emulator

MAX_WAIT = 2.0
EVENTS = 500  # of a request
_PIK = Path(sys.executable).with_name("pik")


@dataclass
class Told:
    """What producers were told: seconds of each request that was taken, and the keys of its events."""

    seconds: list[float] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    refused: list[tuple[int, str]] = field(default_factory=list)  # status, Retry-After


@dataclass
class Up:
    url: str
    pid: int
    bucket: str

    def resident(self) -> int:
        """MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024


@pytest.fixture
def up(emulator: str, unique: str, tmp_path: Path) -> Iterator[Up]:
    folder = tmp_path / "streams"
    folder.mkdir()
    manifest = {
        "apiVersion": "pik.dev/v1alpha1",
        "kind": "CaptureStream",
        "metadata": {"name": "things"},
        "spec": {"storage": {"prefix": "things", "bucket": {"name": unique}}},
    }
    (folder / "things.yaml").write_text(yaml.safe_dump(manifest))
    words = ["up", folder, "--endpoint-url", emulator, "--region", "us-east-1", "--max-wait", str(MAX_WAIT)]
    process = subprocess.Popen([_PIK, *words], stdout=subprocess.DEVNULL)
    try:
        told = folder / ".pik" / "up.json"
        deadline = time.monotonic() + 60
        while not told.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        wait = ["wait", "capturestream", "things", "--for", "condition=Ready", "--timeout", "60"]
        subprocess.run([_PIK, "-C", folder, *wait], check=True, capture_output=True)
        address = json.loads(told.read_text())["gateway"]
        url = f"{address}/v1/streams/default/things/events"
        yield Up(url, process.pid, unique)
    finally:
        process.terminate()
        process.wait(60)


def bodies(first: int, requests: int) -> list[tuple[list[str], bytes]]:
    made = []
    for request in range(first, first + requests):
        keys = [f"{request}-{n}" for n in range(EVENTS)]
        events = [
            {
                "source": "shop",
                "event_type": "paid",
                "entity_id": f"order-{key}",
                "event_time": "2013-07-10T04:00:00Z",
                "idempotency_key": key,
                "payload": {"key": key},
            }
            for key in keys
        ]
        made.append((keys, json.dumps(events, separators=(",", ":")).encode()))
    return made


async def post(client: httpx.AsyncClient, url: str, keys: list[str], body: bytes, told: Told) -> None:
    began = time.perf_counter()
    answer = await client.post(url, content=body, headers={"content-type": "application/json"})
    if answer.status_code == 200:
        told.seconds.append(time.perf_counter() - began)
        answers: list[dict[str, Any]] = answer.json()["answers"]
        assert {each["status"] for each in answers} == {"ACCEPTED"}
        told.keys.update(keys)
    else:
        told.refused.append((answer.status_code, answer.headers["retry-after"]))


def raw_keys(endpoint: str, bucket: str) -> set[str]:
    s3 = AwsClients(AwsAccess(endpoint)).client("s3")
    found: set[str] = set()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="things/raw/"):
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            found.update(pq.read_table(io.BytesIO(body))["idempotency_key"].to_pylist())
    return found


async def test_twice_what_it_can_take(up: Up, emulator: str) -> None:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:
        calm = Told()

        async def producer(mine: list[tuple[list[str], bytes]]) -> None:
            for keys, body in mine:
                while calm.keys.isdisjoint(keys):
                    await post(client, up.url, keys, body, calm)

        await producer(bodies(900, 6))  # the first commits take longer
        calm.seconds.clear()
        began = time.perf_counter()
        await asyncio.gather(*(producer(bodies(first, 5)) for first in range(0, 30, 5)))
        rate = len(calm.seconds) / (time.perf_counter() - began)  # requests a second
        before = up.resident()

        storm, sent = Told(), bodies(1_000, round(2 * rate * 5))
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number, (keys, body) in enumerate(sent):
                await asyncio.sleep(began + number / (2 * rate) - time.perf_counter())
                group.create_task(post(client, up.url, keys, body, storm))

    assert len(storm.seconds) + len(storm.refused) == len(sent)
    assert storm.refused, "all of it was taken"
    assert {status for status, _ in storm.refused} == {429}
    assert all(1 <= int(after) <= 30 for _, after in storm.refused)
    assert len(storm.seconds) >= len(sent) / 5, "it did hardly anything"
    # what is ahead of an event, and the commits that are under way when it comes and that it goes into
    assert max(storm.seconds) < 3 * (MAX_WAIT + max(calm.seconds))
    assert up.resident() < before + 200
    assert calm.keys | storm.keys <= raw_keys(emulator, up.bucket)
