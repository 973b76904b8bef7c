"""Events into one stream by a Lambda function: the gateway's own application behind another way in, so that
both give the same answers to the same requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pik.api.capture_stream import IndexWrites
from pik.aws.clients import AwsAccess
from pik.aws.s3_objects import Lock
from pik.domain.intake import IntakeRules
from pik.execution.capture.capture import Capture
from pik.execution.capture.replays import ReplayClaims
from pik.execution.capture.settings import CaptureSettings
from pik.execution.stream import Stream
from pik.execution.stream_task import StreamTask
from pik.functions import streams
from pik.functions.health import health, is_health_check
from pik.functions.http import respond
from pik.functions.messages import SourceTask, is_batch, take
from pik.functions.streams import access_of
from pik.functions.tasks import decode_task
from pik.gateway.app import Gateway
from pik.gateway.doors import Door

TASK = "PIK_INGEST"
"""Name of the environment variable that has the `IngestTask`, as JSON."""

_SETTINGS = CaptureSettings(linger=0.0)  # an instance has one request at a time: nobody else comes


class IngestTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a function takes, and where it goes. `lock`: of the bucket's objects, where it has Object Lock;
    `sources`: how messages are taken, by the ARN of their queue or stream."""

    stream: StreamTask
    rules: IntakeRules = IntakeRules()
    writes: IndexWrites = IndexWrites.STATEMENTS
    lock: Lock | None = None
    sources: dict[str, SourceTask] = {}


class IngestFunction:
    """One instance of the function. Invocations come one after the other, on one event loop that is kept
    between them; whatever an answer stands for is durable before the invocation ends, since the process may
    be frozen then, or gone."""

    def __init__(self, task: IngestTask, access: AwsAccess, scratch: Path) -> None:
        self._runner = asyncio.Runner()
        self._sources = task.sources
        self._stream = opened(task, access, scratch)
        capture = Capture(self._stream, _SETTINGS)
        claims = ReplayClaims(lambda stream_id: self._stream if stream_id == task.stream.stream_id else None)
        door = self._door = Door(task.rules, capture, claims, self._stream.offload)
        ours = (task.stream.namespace, task.stream.name)
        self.gateway = Gateway(lambda namespace, name: door if (namespace, name) == ours else None)
        self._path = "/v1/streams/{}/{}/events".format(*ours)

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """What a request is answered, or which messages of a batch come again. Raises `NotARequest` and
        `BatchFailed`."""
        if is_health_check(event):
            return self._runner.run(health(self._stream))
        if is_batch(event):
            return self._runner.run(take(self._door, event, self._sources))
        return self._runner.run(respond(self.gateway, event, self._path))


def ingest_function(environ: Mapping[str, str], scratch: Path) -> IngestFunction:
    """As the environment says. Raises ValueError for what is no task."""
    return IngestFunction(decode_task(environ[TASK], IngestTask), access_of(environ), scratch)


def opened(task: IngestTask, access: AwsAccess, scratch: Path) -> Stream:
    """The task's stream. `scratch`: a folder to write to."""
    return streams.opened(task.stream, access, scratch, writes=task.writes, lock=task.lock)
