"""`pik up` as a process of the campaign: capture, replay and aggregates in one, on a folder of manifests."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from crash.checker import Replay
from crash.clients import Producers
from crash.ground import MEASURES, PREFIX, SHARDS, WINDOW, Ground
from crash.processes import Lingers, Started
from crash.receivers import Receiver, drained
from crash.roles import NAME, NAMESPACE

_SETTLED = 90.0  # seconds


@dataclass
class LocalMode:
    """`folder`: what it reconciles; `port`: where it takes events."""

    ground: Ground
    folder: Path
    port: int

    async def play(self, producers: Producers, receiver: Receiver) -> None:
        """Killed while it captures, and again while it replays and computes what it captured."""
        self.folder.mkdir()
        self._apply("CaptureStream", NAME, self._stream())
        sending = asyncio.create_task(producers.run())
        await self._suffer("capture")
        mode = self._start()
        await producers.enough.wait()
        producers.stop()
        await sending
        mode.signal(signal.SIGKILL)
        await mode.ended(_SETTLED)
        queue = self.ground.sqs.create_queue(QueueName=f"{self.ground.name}-sent")["QueueUrl"]
        self._apply("ReplayJob", "over-http", self._job({"type": "HTTP", "http": {"url": receiver.url}}))
        self._apply("ReplayJob", "to-a-queue", self._job({"type": "SQS", "sqs": {"queueURL": queue}}))
        self._apply("AggregateVersion", "delays", self._version())
        await self._suffer("work")
        mode = self._start()
        await self._until_done(mode)
        mode.signal(signal.SIGINT)
        if not await mode.ended(_SETTLED):
            raise Lingers(f"pik up: {mode.output}")
        self._take_down(receiver, queue)

    async def _suffer(self, phase: str) -> None:
        left = self.ground.fates[phase]
        while left and not (phase == "work" and self._is_done()):
            fate = left.pop(0)
            await self.ground.processes.suffer(self._start(fate), f"pik up, {phase}", fate)

    def _start(self, fate: Any = None) -> Started:
        words = [
            "up",
            str(self.folder),
            "--endpoint-url",
            self.ground.processes.endpoint,
            "--region",
            "us-east-1",
        ]
        return self.ground.processes.start("pik", fate, words=[*words, "--port", str(self.port)])

    async def _until_done(self, mode: Started) -> None:
        """Both runs have ended and the version is there, as the bucket says."""
        try:
            async with asyncio.timeout(_SETTLED):
                while not await asyncio.to_thread(self._is_done):
                    if await mode.ended(0.2):
                        raise Lingers(f"pik up ended by itself: {mode.output}")
        except TimeoutError:
            raise Lingers(f"pik up does not come to an end: {mode.output}") from None

    def _is_done(self) -> bool:
        keys = self.ground.bucket.keys(PREFIX)
        ends = [key for key in keys if key.startswith(f"{PREFIX}runs/") and "/shards/" not in key]
        return sum(key.endswith("/end.json") for key in ends) == 2 and any("/as-of/" in key for key in keys)

    def _take_down(self, receiver: Receiver, queue: str) -> None:
        """What the campaign knows of it from now on."""
        bucket = self.ground.bucket
        self.ground.stream["stream_id"] = json.loads(bucket.read(f"{PREFIX}owner.json"))["stream_id"]
        got = {"over-http": receiver.got, "to-a-queue": drained(self.ground.sqs, queue)}
        for key in bucket.keys(f"{PREFIX}runs/"):
            if key.endswith("/run.json"):
                record = json.loads(bucket.read(key))
                ordered = record["name"] == "over-http"
                self.ground.replays.append(Replay(record["run_id"], got[record["name"]], ordered))
        records = [key for key in bucket.keys(f"{PREFIX}aggregates/") if key.endswith("/version.json")]
        self.ground.questions += [json.loads(bucket.read(key))["definition_hash"] for key in records]

    def _apply(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        manifest = {
            "apiVersion": "pik.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": dict(spec),
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest))

    def _stream(self) -> dict[str, Any]:
        ground = self.ground
        return {
            "storage": {"prefix": PREFIX.rstrip("/"), "bucket": {"name": ground.name, "origin": "Adopt"}},
            "index": {
                "tableName": ground.name,
                "deduplication": ground.stream["deduplication"],
                "writes": ground.writes,
            },
        }

    def _job(self, target: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "streamRef": {"name": NAME},
            "select": {"window": WINDOW},
            "target": dict(target),
            "shards": SHARDS,
            "parallelism": SHARDS,
            "onStale": "Send",
            "mode": "Run",
        }

    def _version(self) -> dict[str, Any]:
        return {
            "streamRef": {"name": NAME},
            "window": WINDOW,
            "bucket": "Hour",
            "groupBy": ["payload.carrier"],
            "measures": MEASURES,
        }
