"""The process of a pod: its signals, its log, and what it leaves when it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable
from pathlib import Path

from pik.api.aggregate_version import AggregateVersion
from pik.api.conditions import Reason
from pik.api.replay_job import ReplayJob
from pik.cluster.jobs.task import AggregateTask, ReplayTask, Task, decode_task
from pik.cluster.jobs.verdicts import ExitCode, Verdict
from pik.cluster.jobs.worker import Surroundings, work
from pik.cluster.logs import Subject, about, configure
from pik.controller.objects import ObjectKey

log = logging.getLogger(__name__)

_HALTED = Verdict(ExitCode.HALTED, Reason.SUSPENDED, "the computation was halted")


def run_worker(text: str, around: Surroundings, termination_log: Path) -> int:
    """The exit code of the process, whose reason is then in `termination_log`. What nobody foresaw is raised:
    the log has it then, and the pod may be tried again."""
    configure(sys.stdout)
    try:
        task = decode_task(text)
    except ValueError as error:
        message = f"the task cannot be read: {error}"
        verdict = Verdict(ExitCode.MISCONFIGURED, Reason.INTERNAL_ERROR, message)
        _leave(verdict, termination_log)
        return verdict.code
    with about(_subject(task, around.shard)):
        try:
            verdict = asyncio.run(_run(task, around, termination_log))
        except MemoryError:
            message = "the work needs more memory than the pod has"
            verdict = Verdict(ExitCode.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY, message)
        _leave(verdict, termination_log)
    return verdict.code


async def _run(task: Task, around: Surroundings, termination_log: Path) -> Verdict:
    halting = asyncio.Event()
    return await until_told(task, work(task, around, halting), halting, termination_log)


async def until_told(
    task: Task, working: Awaitable[Verdict], halting: asyncio.Event, termination_log: Path
) -> Verdict:
    """What the work comes to, unless the process is told to stop: a shard is, by `halting`; a computation by
    Athena is cancelled, and its query with it; one by DuckDB ends with the process at once."""
    doing = asyncio.ensure_future(working)

    def told() -> None:
        log.info("told to stop")
        if isinstance(task, AggregateTask) and task.athena is not None:
            doing.cancel()
        elif isinstance(task, AggregateTask):
            # a query cannot be stopped half-way; what is not kept yet is computed again
            _leave(_HALTED, termination_log)
            os._exit(_HALTED.code)
        halting.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    try:
        return await doing
    except asyncio.CancelledError:
        return _HALTED


def _subject(task: Task, shard: int | None) -> Subject:
    """What the lines of the log speak of; they can be found together by the run and its shard."""
    if isinstance(task, ReplayTask):
        key = ObjectKey(ReplayJob.KIND, task.namespace, task.name)
        return Subject(key, f"{task.run_id}/{shard}")
    return Subject(ObjectKey(AggregateVersion.KIND, task.namespace, task.name), task.definition_hash)


def _leave(verdict: Verdict, termination_log: Path) -> None:
    level = logging.INFO if verdict.code in (ExitCode.DONE, ExitCode.HALTED) else logging.ERROR
    log.log(level, "it ends with exit code %d, %s: %s", verdict.code, verdict.reason, verdict.message)
    try:
        termination_log.write_bytes(verdict.encode())
    except OSError as error:
        log.warning("the termination message is not left: %s", error)
    logging.shutdown()
    sys.stdout.flush()
