"""One stream of the campaign on the emulator, and what is done with it: by processes that may be killed."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import boto3
import msgspec
from botocore.config import Config

from crash.checker import Evidence, Replay
from crash.clients import Producers
from crash.processes import Broken, Processes, Started
from crash.receivers import Delivery, Receiver, drained
from crash.roles import NAME, NAMESPACE
from crash.steps import Fate
from crash.truth import S3Bucket

PREFIX = "some/where/"
SHARDS = 2
WINDOW = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
SETTINGS = {
    "chunk_events": 40, "first_chunk": 40, "lease_seconds": 1.0, "first_wait": 0.01, "longest_wait": 0.1,
}  # fmt: skip
MEASURES = [
    {"name": "flights", "expression": "count(*)"},
    {"name": "delay", "expression": "sum(payload.delay)"},
    {"name": "worst", "expression": "max(payload.delay)"},
]
_DONE = 0


def clients(endpoint: str) -> tuple[Any, Any, Any]:
    """S3, DynamoDB and SQS of the emulator."""
    config = Config(proxies={}, s3={"addressing_style": "path"}, retries={"mode": "standard"})
    session = boto3.Session("test", "test", region_name="us-east-1")
    s3, dynamodb, sqs = (
        session.client(name, endpoint_url=endpoint, config=config) for name in ("s3", "dynamodb", "sqs")
    )
    return s3, dynamodb, sqs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Ground:
    """`stream`: as a worker's task has it; `writes`: as its spec does. `fates`: by role, those that its
    processes are still to suffer."""

    processes: Processes
    endpoint: str
    name: str
    deciding: bool
    writes: str = "Statements"
    fates: dict[str, list[Fate]] = field(default_factory=dict)
    stream: dict[str, Any] = field(default_factory=dict)
    replays: list[Replay] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.s3, self.dynamodb, self.sqs = clients(self.endpoint)
        self.s3.create_bucket(Bucket=self.name)
        versioning = {"Status": "Enabled"}
        self.s3.put_bucket_versioning(Bucket=self.name, VersioningConfiguration=versioning)
        self.stream = {
            "namespace": NAMESPACE,
            "name": NAME,
            "stream_id": "",
            "bucket": self.name,
            "prefix": PREFIX.rstrip("/"),
            "table": self.name,
            "deduplication": "OnWrite" if self.deciding else "OnRead",
            "region": "us-east-1",
        }

    @property
    def bucket(self) -> S3Bucket:
        return S3Bucket(self.s3, self.name)

    def evidence(self, producers: Producers) -> Evidence:
        return Evidence(
            self.bucket,
            PREFIX,
            self.stream["stream_id"],
            self.deciding,
            producers.log,
            self.replays,
            self.questions,
        )

    def taken(self, role: str) -> list[Fate]:
        return self.fates.pop(role, [])

    # making and keeping

    async def build(self, cluster: str = "here", **options: Any) -> None:
        role = "rebuild" if options.get("again") else "build"
        built = await self.processes.until_done(
            "build", self.taken(role), role, stream=self.stream, cluster=cluster, **options
        )
        self.stream |= built.result

    async def take_over(self, cluster: str, old: str) -> None:
        """The other cluster is the owner from now on; its table is another one."""
        taken = await self.processes.until_done(
            "take_over", [], "take over", stream=self.stream, cluster=cluster, old=old
        )
        self.stream |= {**taken.result, "table": f"{self.name}-{cluster}"}

    async def index_orphans(self) -> None:
        await self.processes.until_done("orphans", self.taken("orphans"), "orphans", stream=self.stream)

    async def seal(self) -> None:
        await self.processes.until_done("seal", self.taken("seal"), "seal", stream=self.stream)

    # capturing

    async def capture(self, producers: Producers, ports: Sequence[int]) -> None:
        """Writers that are killed and started again while producers send; then all is sent to its end."""
        sending = asyncio.create_task(producers.run())
        if self.fates.get("rebuild"):
            await self._rebuild_beside(producers, ports)
        fates = [self.taken(f"serve-{n}") for n in range(len(ports))]
        writers = await asyncio.gather(*(self._writer(*each) for each in zip(ports, fates, strict=True)))
        await producers.enough.wait()
        producers.stop()
        await sending
        for writer in writers:
            await self.ended(writer)

    async def _rebuild_beside(self, producers: Producers, ports: Sequence[int]) -> None:
        """The index is built anew, once there is something in it, beside writers; these are then killed."""
        writers = [self.serve(port) for port in ports]
        await producers.begun.wait()
        await self.build(again=True)
        for writer in writers:
            await self.processes.suffer(writer, "capture", Fate(seconds=0.0))

    async def _writer(self, port: int, fates: Sequence[Fate]) -> Started:
        """The one that is left when its predecessors have suffered their fates."""
        for fate in fates:
            started = self.serve(port, fate)
            if await self.processes.suffer(started, "capture", fate) is None:
                raise Broken(f"a writer ended by itself: {started.output}")
        return self.serve(port)

    def serve(self, port: int, fate: Fate | None = None, **changes: Any) -> Started:
        stream = {**self.stream, **changes}
        return self.processes.start("serve", fate, stream=stream, port=port, writes=self.writes)

    async def ended(self, writer: Started) -> None:
        """By SIGTERM, with what it took answered."""
        await writer.ready()
        writer.signal(signal.SIGTERM)
        if not await writer.ended(30.0) or writer.process.exitcode != _DONE:
            raise Broken(f"a writer did not end: {writer.process.exitcode}, {writer.output}")

    # replaying

    async def plan(self, name: str, target: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """The run that was begun: its id and its plan's hash."""
        job = {
            "streamRef": {"name": NAME},
            "select": {"window": WINDOW},
            "target": target,
            "shards": SHARDS,
            "onStale": "Send",
            **fields,
        }
        planned = await self.processes.until_done(
            "plan", self.taken(f"{name}-plan"), "plan", stream=self.stream, job=job, name=name
        )
        found: dict[str, Any] = planned.result
        return found

    async def replay(self, name: str, target: Mapping[str, Any]) -> str:
        """A run from its plan to its end, all of its processes killed on the way. Its id."""
        run = await self.plan(name, target)
        await asyncio.gather(*(self._shard(name, run, shard) for shard in range(SHARDS)))
        await self.conclude(run["run_id"], self.taken(f"{name}-conclude"))
        found: str = run["run_id"]
        return found

    async def conclude(self, run: str, fates: Sequence[Fate] = ()) -> None:
        await self.processes.until_done("conclude", list(fates), "conclude", stream=self.stream, run=run)

    async def _shard(self, name: str, run: Mapping[str, Any], shard: int) -> None:
        words = self.worker(self.replay_task(name, run), shard)
        await self.processes.until_done("pik", self.taken(f"{name}-{shard}"), "replay", **words)

    def replay_task(self, name: str, run: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        return {
            "kind": "Replay",
            "stream": self.stream,
            "namespace": NAMESPACE,
            "name": name,
            **run,
            "pace": {},
            "grace": 20.0,
            "loopback": True,
            "settings": SETTINGS,
            **changes,
        }

    def worker(self, task: Mapping[str, Any], shard: int | None = None) -> dict[str, Any]:
        """`pik worker` with a task, as options of a process."""
        environment = {"PIK_TASK": msgspec.json.encode(task).decode()}
        if shard is not None:
            environment["JOB_COMPLETION_INDEX"] = str(shard)
        return {"words": ["worker", "--termination-log", "/dev/null"], "environment": environment}

    async def replay_over_http(self, receiver: Receiver, name: str = "http") -> None:
        target = {"type": "HTTP", "http": {"url": receiver.url}}
        before = len(receiver.got)
        run = await self.replay(name, target)
        self.replays.append(Replay(run, receiver.got[before:], ordered=True))

    async def replay_to_queue(self) -> None:
        url = self.sqs.create_queue(QueueName=f"{self.name}-sent")["QueueUrl"]
        run = await self.replay("queue", {"type": "SQS", "sqs": {"queueURL": url}})
        self.replays.append(Replay(run, await asyncio.to_thread(drained, self.sqs, url), ordered=False))

    async def nothing_more_of(self, receiver: Receiver) -> list[Delivery]:
        """What the workers of an ended run send when they are started again."""
        before = len(receiver.got)
        run = {"run_id": self.replays[0].run_id, "plan_hash": self._plan_of(self.replays[0].run_id)}
        await self._shard("http", run, 0)
        return receiver.got[before:]

    def _plan_of(self, run: str) -> str:
        record: str = msgspec.json.decode(self.bucket.read(f"{PREFIX}runs/{run}/run.json"))["plan_hash"]
        return record

    # computing

    async def aggregate(self, name: str) -> None:
        definition = {
            "window": {key: value.replace("Z", ".000000Z") for key, value in WINDOW.items()},
            "timezone": "UTC",
            "bucket": "Hour",
            "groupBy": ["payload.carrier"],
            "measures": MEASURES,
            "where": None,
        }
        asked = await self.processes.until_done(
            "ask", self.taken("ask"), "aggregate", stream=self.stream, definition=definition
        )
        task = {
            "kind": "Aggregate",
            "stream": self.stream,
            "namespace": NAMESPACE,
            "name": name,
            "definition_hash": asked.result,
            "known_by": "IngestTime",
        }
        await self.processes.until_done("pik", self.taken("aggregate"), "aggregate", **self.worker(task))
        self.questions.append(asked.result)


def producers_of(ports: Sequence[int], random: Random, **options: Any) -> Producers:
    urls = [f"http://127.0.0.1:{port}/v1/streams/{NAMESPACE}/{NAME}/events" for port in ports]
    return Producers(urls, random, **options)
