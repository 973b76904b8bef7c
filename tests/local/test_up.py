"""Local mode over the emulator: a folder that changes, AWS that goes away, and processes that are ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from integrity.bench import arrivals
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.system import SystemClock
from pik.controller.objects import ObjectKey
from pik.controller.world import Timing
from pik.domain.arrivals import Outcome, Row
from pik.domain.layout import Layout, segment_id
from pik.domain.segments import SegmentHead
from pik.execution.parquet import ParquetCodec
from pik.local import emulator as embedded
from pik.local.state import State
from pik.local.up import LocalMode, Teller, UpSettings, local_mode

STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {{name: things}}
spec:
  storage: {{prefix: some, bucket: {{name: "{bucket}"}}}}
"""
JOB = """
apiVersion: pik.dev/v1alpha1
kind: ReplayJob
metadata: {{name: again}}
spec:
  streamRef: {{name: things}}
  select: {{window: {{from: "2026-01-01T00:00:00Z", to: "2026-02-01T00:00:00Z"}}}}
  target: {{type: HTTP, http: {{url: "{url}"}}}}
  mode: {mode}
  pace: {{eventsPerSecond: {rate}}}
"""
THINGS = ObjectKey("CaptureStream", "default", "things")
QUICK = UpSettings(timing=Timing(resync=0.5, counters=0.5, seals=0.5, orphans=5.0, rebuild=1.0, settle=0.0))
PATIENCE = 120.0  # twice as long as a rebuild that was cut off holds up the next


def events(count: int) -> bytes:
    return b"\n".join(
        json.dumps(
            {
                "source": "tests",
                "event_type": "happened",
                "entity_id": f"e{number % 3}",
                "event_time": f"2026-01-{number % 28 + 1:02}T00:00:00Z",
                "idempotency_key": f"k{number}",
                "payload": {"number": number},
            }
        ).encode()
        for number in range(count)
    )


@asynccontextmanager
async def up(folder: Path, endpoint: str, settings: UpSettings = QUICK) -> AsyncIterator[LocalMode]:
    state = State(folder)
    state.create()
    with state.locked():
        async with local_mode(state, AwsAccess(endpoint_url=endpoint), settings, Teller()) as mode:
            yield mode


async def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it does not come to be"
        await asyncio.sleep(0.02)


def ready(mode: LocalMode, key: ObjectKey = THINGS) -> tuple[str, str]:
    resource = mode.objects.find(key)
    conditions = () if resource is None else resource.status.conditions
    found = next((one for one in conditions if one.type == "Ready"), None)
    return ("", "") if found is None else (found.status, found.reason)


async def post(mode: LocalMode, body: bytes, name: str = "things") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        url = f"{mode.gateway}/v1/streams/default/{name}/events"
        return await client.post(url, content=body, headers={"content-type": "application/x-ndjson"})


async def test_a_folder_that_changes_while_it_is_worked_on(
    tmp_path: Path, emulator: str, unique: str
) -> None:
    async with up(tmp_path, emulator) as mode:
        assert (await post(mode, events(1))).status_code == 404
        manifest = tmp_path / "stream.yaml"
        manifest.write_text(STREAM.format(bucket=unique))
        await eventually(lambda: ready(mode) == ("True", "Provisioned"))
        answered = await post(mode, events(3))
        assert [one["status"] for one in answered.json()["answers"]] == ["ACCEPTED"] * 3
        manifest.write_text(STREAM.format(bucket=unique) + "  suspend: true\n")
        await eventually(lambda: ready(mode) == ("False", "Suspended"))
        assert (await post(mode, events(1))).status_code in (404, 503)
        manifest.write_text(STREAM.format(bucket=unique) + "  suspnd: true\n")
        await eventually(lambda: bool(mode.faults))
        assert "did you mean suspend" in str(mode.faults[0])
        assert ready(mode) == ("False", "Suspended")
        manifest.write_text(STREAM.format(bucket=unique))
        await eventually(lambda: ready(mode) == ("True", "Provisioned") and not mode.faults)
        manifest.unlink()
        await eventually(lambda: mode.objects.find(THINGS) is None)
        assert (await post(mode, events(1))).status_code == 404
        manifest.write_text(STREAM.format(bucket=unique))  # nothing was lost with the manifest
        await eventually(lambda: ready(mode) == ("True", "Provisioned"))
        answered = await post(mode, events(4))
        assert [one["status"] for one in answered.json()["answers"]] == ["DUPLICATE"] * 3 + ["ACCEPTED"]


async def test_a_table_that_was_deleted_is_rebuilt(tmp_path: Path, emulator: str, unique: str) -> None:
    (tmp_path / "stream.yaml").write_text(STREAM.format(bucket=unique))
    async with up(tmp_path, emulator) as mode:
        await eventually(lambda: ready(mode) == ("True", "Provisioned"))
        await post(mode, events(5))
        table = mode.objects.find(THINGS).status.index.table  # type: ignore[union-attr]
        client = AwsClients(AwsAccess(endpoint_url=emulator)).client("dynamodb")
        client.update_table(TableName=table, DeletionProtectionEnabled=False)
        client.delete_table(TableName=table)
        while (answered := await post(mode, events(5))).status_code == 503:
            assert int(answered.headers["retry-after"]) > 0
        assert [one["status"] for one in answered.json()["answers"]] == ["DUPLICATE"] * 5


async def test_a_segment_that_landed_without_its_manifest_row_is_indexed_by_the_timer(
    tmp_path: Path, emulator: str, unique: str
) -> None:
    """A writer was killed between the two: here the segment is put by hand, and a row is taken away."""
    (tmp_path / "stream.yaml").write_text(STREAM.format(bucket=unique))
    clients = AwsClients(AwsAccess(endpoint_url=emulator))
    s3, dynamodb = clients.client("s3"), clients.client("dynamodb")
    async with up(tmp_path, emulator) as mode:
        await eventually(lambda: ready(mode) == ("True", "Provisioned"))
        await post(mode, events(5))
        found = mode.objects.find(THINGS)
        assert found is not None
        table = found.status.index.table  # type: ignore[union-attr]

        def rows() -> set[str]:
            asked = {":pk": {"S": "#segments"}}
            answer = dynamodb.query(
                TableName=table, KeyConditionExpression="pk = :pk", ExpressionAttributeValues=asked
            )
            return {item["sk"]["S"] for item in answer["Items"]}

        (written,) = rows()
        now = SystemClock().now()
        layout = Layout("some/", str(found.status.streamID))  # type: ignore[union-attr]
        head = SegmentHead(layout.stream_id, segment_id(now, "a" * 20, 1), now)
        orphans = [Row(n, event, Outcome.ACCEPTED) for n, event in enumerate(arrivals(3))]
        body = ParquetCodec().encode(head, orphans)
        s3.put_object(Bucket=unique, Key=layout.segment(head.segment), Body=body)
        dynamodb.delete_item(TableName=table, Key={"pk": {"S": "#segments"}, "sk": {"S": written}})
        await eventually(lambda: rows() == {written, str(head.segment)})
        await eventually(lambda: mode.objects.find(THINGS).status.counters.events == 8)  # type: ignore[union-attr]


@pytest.fixture
def own_emulator(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Starts it, or starts it again where it was, with what it held."""
    python = embedded.install(embedded.cache_directory(os.environ))
    running: list[embedded.Emulator] = []

    def start() -> str:
        port = int(running[0].endpoint.rpartition(":")[2]) if running else 0
        home = tmp_path / "emulator"
        running.append(embedded.start(python, log=home / "log", state=home, port=port))
        return running[-1].endpoint

    def stop() -> None:
        embedded.stop(running[-1])

    start.stop = stop  # type: ignore[attr-defined]
    yield start
    stop()


@pytest.mark.loopback
async def test_the_emulator_stops_in_the_middle(
    tmp_path: Path, own_emulator: Callable[[], str], unique: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "stream.yaml").write_text(STREAM.format(bucket=unique))
    endpoint = own_emulator()
    settings = UpSettings(timing=QUICK.timing, backoff=type(QUICK.backoff)(0.1, 0.5))
    async with up(folder, endpoint, settings) as mode:
        await eventually(lambda: ready(mode) == ("True", "Provisioned"))
        assert (await post(mode, events(3))).status_code == 200
        await asyncio.to_thread(own_emulator.stop)  # type: ignore[attr-defined]
        await eventually(lambda: ready(mode) == ("False", "AWSUnavailable"))
        refused = await post(mode, events(6))
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        assert await asyncio.to_thread(own_emulator) == endpoint
        await eventually(lambda: ready(mode) == ("True", "Provisioned"))
        answered = await post(mode, events(6))
        statuses = [one["status"] for one in answered.json()["answers"]]
        assert statuses[:3] == ["DUPLICATE"] * 3
        assert {*statuses[3:]} <= {"ACCEPTED", "DUPLICATE"}  # what was refused may be durable
        again = await post(mode, events(6))
        assert [one["status"] for one in again.json()["answers"]] == ["DUPLICATE"] * 6


# real processes


class Receiver:
    """An endpoint that writes down the keys that it is sent."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                receiver.keys.append(self.headers["Idempotency-Key"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/x"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def command(folder: Path, endpoint: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "pik.cli.main", "up", str(folder), "--endpoint-url", endpoint, *more]


@contextmanager
def process(folder: Path, endpoint: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    running = subprocess.Popen(
        command(folder, endpoint, *more),
        env={**environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def once(folder: Path, endpoint: str, *more: str) -> tuple[int, str]:
    with process(folder, endpoint, "--once", *more) as running:
        output, _ = running.communicate(timeout=PATIENCE)
        return running.returncode, output


def record(folder: Path, key: ObjectKey) -> dict[str, Any]:
    found = State(folder).record(key)
    assert found is not None
    return found.manifest


async def until(holds: Callable[[], bool], running: subprocess.Popen[str]) -> None:
    await eventually(lambda: holds() or running.poll() is not None)
    assert running.poll() is None, running.communicate()


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -9)])
async def test_a_replay_goes_on_after_the_process_was_ended(
    tmp_path: Path, emulator: str, unique: str, receiver: Receiver, end: signal.Signals, code: int
) -> None:
    (tmp_path / "stream.yaml").write_text(STREAM.format(bucket=unique))
    async with up(tmp_path, emulator) as mode:
        await eventually(lambda: ready(mode) == ("True", "Provisioned"))
        assert (await post(mode, events(120))).status_code == 200
    (tmp_path / "job.yaml").write_text(JOB.format(url=receiver.url, mode="Run", rate=100))
    with process(tmp_path, emulator) as running:
        await until(lambda: len(receiver.keys) >= 20, running)
        running.send_signal(end)
        assert await asyncio.to_thread(running.wait, PATIENCE) == code
    before = len(receiver.keys)
    assert before < 120
    assert once(tmp_path, emulator)[0] == 0
    job = record(tmp_path, ObjectKey("ReplayJob", "default", "again"))
    assert job["status"]["progress"]["sent"] == 120
    assert len({*receiver.keys}) == 120
    if end is signal.SIGKILL:  # the chunk in doubt comes again, with the same keys
        assert {*receiver.keys[:before]} <= {*receiver.keys}
    else:
        assert len(receiver.keys) == 120  # it ended between two chunks


@pytest.mark.emulator
@pytest.mark.parametrize("seconds", [0.4, 0.9, 1.4])
async def test_ended_at_any_moment_the_next_run_goes_on(
    tmp_path: Path, emulator: str, unique: str, seconds: float
) -> None:
    (tmp_path / "stream.yaml").write_text(STREAM.format(bucket=unique))
    with process(tmp_path, emulator) as running, pytest.raises(subprocess.TimeoutExpired):
        running.wait(seconds)
    code, output = once(tmp_path, emulator)
    assert code == 0, output
    conditions = record(tmp_path, THINGS)["status"]["conditions"]
    assert conditions[0]["status"] == "True"


async def test_once_says_what_is_not_as_it_should_be(tmp_path: Path, emulator: str, unique: str) -> None:
    (tmp_path / "stream.yaml").write_text(STREAM.format(bucket=unique))
    job = tmp_path / "job.yaml"
    job.write_text(JOB.format(url="http://127.0.0.1:9/", mode="DryRun", rate=1).replace("things", "others"))
    code, output = once(tmp_path, emulator)
    assert code == 1
    assert "ReplayJob default/again" in output
    assert "StreamNotFound" in output
    job.write_text(JOB.format(url="http://127.0.0.1:9/", mode="DryRun", rate=1))
    code, output = once(tmp_path, emulator)
    assert (code, output.splitlines()[-1]) == (0, "all is as it should be")
    job.write_text("kind: ReplayJb")
    code, output = once(tmp_path, emulator)
    assert code == 1
    assert f"{job}:1" in output


@pytest.mark.loopback
async def test_once_does_not_wait_for_ever_for_aws(tmp_path: Path) -> None:
    (tmp_path / "stream.yaml").write_text(STREAM.format(bucket="some-bucket"))
    code, output = once(tmp_path, "http://127.0.0.1:9", "--patience", "0.5")
    assert code == 1
    assert "AWSUnavailable" in output
    assert "Traceback" not in output


async def test_two_processes_do_not_work_on_one_folder(tmp_path: Path, emulator: str) -> None:
    with process(tmp_path, emulator) as running:
        await until(lambda: State(tmp_path).running() is not None, running)
        code, output = once(tmp_path, emulator)
        assert code == 1
        assert f"process {running.pid}" in output
        running.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(running.wait, PATIENCE) == 0
