"""Aggregates brought up to date by what was replayed: each time bucket that a batch touches is computed from
raw, never added to, so that redelivery, order and duplicates change nothing.

A bucket is computed as known when its run was planned: the same run gives the same version, whoever delivers
its messages, and however often. It is asked once a run and then found; later runs make later versions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pik.api.aggregate_version import KnownBy, TimeBucket
from pik.aws.clients import AwsAccess
from pik.domain.errors import NoSuchObject, PikError
from pik.domain.instants import Instant, parse_instant
from pik.execution.aggregate.answers import Asking, find_answer, keep_answer
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.records import Answer
from pik.execution.replay.runs import read_plan, read_record
from pik.execution.stream import Stream
from pik.execution.stream_task import StreamTask
from pik.functions.cells import NotAReplay, bucket_around, over, read_message
from pik.functions.health import health, is_health_check
from pik.functions.invocations import Invocation
from pik.functions.messages import is_of_queue
from pik.functions.streams import access_of, make_room, memory_of, opened
from pik.functions.tasks import decode_task
from pik.planning.aggregate_sql import query_of
from pik.planning.definitions import Definition, Measure, WindowText

log = logging.getLogger(__name__)

TASK = "PIK_PROCESSOR"
"""Name of the environment variable that has the `ProcessorTask`, as JSON."""

_MARGIN = 2.0  # seconds before the end of an invocation at which what is not computed comes again
_RUNS = 1_000  # whose time is remembered
_NO_WINDOW = WindowText("2000-01-01T00:00:00.000000Z", "2000-01-02T00:00:00.000000Z")


class ProcessorTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a function computes: of each bucket that replayed events touch, what an AggregateVersion of that
    window would. `name`: that its versions are asked under, in the stream's namespace; `memory`: as in
    `relation.connect`, by default what AWS says that the function has."""

    stream: StreamTask
    name: str
    bucket: TimeBucket
    measures: tuple[Measure, ...]
    timezone: str = "UTC"
    group_by: tuple[str, ...] = ()
    where: str | None = None
    memory: str | None = None

    @property
    def definition(self) -> Definition:
        """Of whatever window."""
        return Definition(
            stream_id=self.stream.stream_id,
            window=_NO_WINDOW,
            timezone=self.timezone,
            bucket=self.bucket,
            group_by=self.group_by,
            measures=self.measures,
            where=self.where,
        )


class Cell(msgspec.Struct, frozen=True):
    """A bucket by its definition, as known when (RFC 3339)."""

    definition: Definition
    as_of: str


class ProcessorFunction:
    """One instance of the function. Invocations come one after the other, on one event loop that is kept
    between them."""

    def __init__(
        self, task: ProcessorTask, access: AwsAccess, scratch: Path, memory: str | None = None
    ) -> None:
        """Raises InvalidExpression and InvalidDefinition, naming the field, and ValueError for `Window`."""
        query_of(task.definition)
        bucket_around(task.definition, Instant(0))
        self._runner = asyncio.Runner()
        self._task = task
        self._memory = memory
        self._stream: Stream = opened(task.stream, access, scratch)
        self._segments = scratch / "segments"
        self._known: dict[str, str] = {}  # as of when each run was planned

    def __call__(self, event: Mapping[str, Any], invocation: Invocation) -> dict[str, Any]:
        """Which messages come again. Raises `NotAReplay` for what is no batch of a queue."""
        if is_health_check(event):
            return self._runner.run(health(self._stream))
        if not is_of_queue(event):
            raise NotAReplay("not a batch of an SQS queue")
        make_room(self._segments)
        return self._runner.run(self._process(event, invocation))

    def close(self) -> None:
        """Ends its event loop, in a process that outlives it."""
        self._runner.close()

    async def _process(self, event: Mapping[str, Any], invocation: Invocation) -> dict[str, Any]:
        failed: list[str] = []
        touched: dict[Cell, list[str]] = {}
        for record in event["Records"]:
            message = record["messageId"]
            try:
                cell = await self._cell(record["body"])
            except (PikError, ValueError) as error:
                log.warning("message %s is not processed: %s", message, error)
                failed.append(message)
            else:
                touched.setdefault(cell, []).append(message)
        for cell, messages in touched.items():
            start = cell.definition.window.from_
            try:
                async with asyncio.timeout(max(0.0, invocation.seconds_left() - _MARGIN)):
                    answer = await self._answer(cell)
            except (PikError, TimeoutError, OSError) as error:
                said = str(error) or "there is no time left"
                log.warning("bucket %s is not computed: %s", start, said)
                failed += messages
            else:
                log.info("bucket %s as of %s is version %s", start, cell.as_of, answer.version)
        return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}

    async def _cell(self, body: str) -> Cell:
        """The bucket that a message touches. Raises `NotAReplay` and what reading the run does."""
        claim, time = read_message(body, self._task.stream.stream_id)
        as_of = await self._as_of(claim.run_id)
        definition = self._task.definition
        return Cell(over(definition, bucket_around(definition, time)), as_of)

    async def _as_of(self, run_id: str) -> str:
        if run_id not in self._known:
            record = await read_record(self._stream, run_id)
            plan = None if record is None else await read_plan(self._stream, run_id, record.plan_hash)
            if plan is None:
                raise NotAReplay(f"there is no record of run {run_id}, or no plan")
            if len(self._known) >= _RUNS:
                self._known.clear()
            self._known[run_id] = plan.as_of
        return self._known[run_id]

    async def _answer(self, cell: Cell) -> Answer:
        """Found, or computed and kept. Raises what `compute` does."""
        task = self._task
        namespace, known_by = task.stream.namespace, KnownBy.INGEST_TIME
        asking = Asking(namespace, task.name, cell.definition.hash, known_by, cell.as_of)
        try:
            found = await find_answer(self._stream, asking)
        except NoSuchObject:
            found = None  # the version is gone: computed again, it is the same
        if found is not None:
            return found
        answer = await compute(
            self._stream,
            cell.definition,
            namespace=namespace,
            name=task.name,
            known_by=known_by,
            as_of=parse_instant(cell.as_of),
            memory=self._memory,
        )
        await keep_answer(self._stream, asking, answer)
        return answer


def processor_function(environ: Mapping[str, str], scratch: Path) -> ProcessorFunction:
    """As the environment says. Raises ValueError for what is no task, and what `ProcessorFunction` does."""
    task = decode_task(environ[TASK], ProcessorTask)
    return ProcessorFunction(task, access_of(environ), scratch, task.memory or memory_of(environ))
