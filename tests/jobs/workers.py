"""`pik worker` as a process of its own, on a stream of the emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from pik.cluster.jobs.task import AggregateTask, ReplayTask, encode_task
from pik.cluster.jobs.verdicts import Verdict, decode_verdict
from pik.execution.replay.settings import ShardSettings
from pik.execution.stream import Stream
from pik.execution.stream_task import StreamTask
from pik.planning.replay.pace import EffectivePace
from pik.planning.replay.plan import ReplayPlan

SETTINGS = ShardSettings(
    chunk_events=10, first_chunk=10, lease_seconds=2.0, attempts=2, first_wait=0.01, longest_wait=0.02
)


def stream_task(stream: Stream, bucket: str, **changes: Any) -> StreamTask:
    given = StreamTask(
        namespace=stream.namespace,
        name=stream.name,
        stream_id=stream.layout.stream_id,
        bucket=bucket,
        prefix=stream.layout.prefix.rstrip("/"),
        table=bucket,
        deduplication=stream.deduplication,
        region="us-east-1",
    )
    return msgspec.structs.replace(given, **changes)


def replay_task(stream: Stream, bucket: str, plan: ReplayPlan, **changes: Any) -> ReplayTask:
    given = ReplayTask(
        stream=stream_task(stream, bucket),
        namespace="tests",
        name="again",
        run_id=plan.run_id,
        plan_hash=plan.hash,
        pace=EffectivePace(),
        grace=20.0,
        loopback=True,
        settings=SETTINGS,
    )
    return msgspec.structs.replace(given, **changes)


@dataclass
class Pods:
    """Starts workers, and stops those that a test has left. `directory`: one for each, as its disk."""

    endpoint: str
    directory: Path
    secrets: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, task: ReplayTask | AggregateTask | str, shard: int | None = None) -> Pod:
        home = self.directory / f"pod-{len(self.running)}"
        home.mkdir()
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": str(home),
            "PIK_TASK": task if isinstance(task, str) else encode_task(task),
            "PIK_SCRATCH": str(home / "scratch"),
            "PIK_SECRETS": str(self.secrets),
            "PIK_TERMINATION_LOG": str(home / "termination"),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            **({} if shard is None else {"JOB_COMPLETION_INDEX": str(shard)}),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "pik.cli.main", "worker"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(process)
        return Pod(process, home / "termination")

    def stop(self) -> None:
        for process in self.running:
            process.kill()
            process.communicate()


@dataclass
class Pod:
    process: subprocess.Popen[str]
    termination: Path
    output: str = ""

    def ended(self, seconds: float = 90.0) -> int:
        """Its exit code."""
        self.output += self.process.communicate(timeout=seconds)[0]
        return self.process.returncode

    @property
    def verdict(self) -> Verdict:
        found = decode_verdict(self.termination.read_text())
        assert found is not None, self.output
        return found
