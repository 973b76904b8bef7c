"""A pod that is told to stop while Athena computes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from athena.service import DuckDBService
from athena.worlds import ASKED, small
from pik.api.aggregate_version import KnownBy
from pik.cluster.jobs.process import until_told
from pik.cluster.jobs.task import AggregateTask
from pik.cluster.jobs.verdicts import ExitCode
from pik.cluster.jobs.worker import answered
from pik.execution.aggregate.answers import Asking, find_answer, keep_definition
from pik.execution.aggregate.athena import Athena
from pik.execution.stream import Deduplication
from pik.execution.stream_task import StreamTask


async def test_its_query_is_stopped_and_another_pod_begins_anew(tmp_path: Path) -> None:
    made = await small(tmp_path)
    await keep_definition(made.stream, ASKED)
    place = StreamTask("tests", "things", "stream1", "bucket", "some/prefix", "table", Deduplication.ON_WRITE)
    task = AggregateTask(place, "tests", "version", ASKED.hash, KnownBy.INGEST_TIME, athena="primary")
    service = DuckDBService(made.bucket, tmp_path / "athena", looks=10**9)
    athena = Athena(service, halted=lambda: True)

    async def working() -> object:
        return await until_told(task, answered(task, made.stream, athena), asyncio.Event(), tmp_path / "log")

    pod = asyncio.create_task(working())
    await service.started.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    verdict = await pod
    assert verdict.code is ExitCode.HALTED
    assert service.stopped == ["query-0"]
    service.looks = 1
    assert (await answered(task, made.stream, athena)).code is ExitCode.DONE
    asking = Asking("tests", "version", ASKED.hash, KnownBy.INGEST_TIME, None)
    found = await find_answer(made.stream, asking)
    assert found is not None
    assert found.record.input_count == 15
