"""Replays for these tests, by public functions alone: a dry run, its run, and what arrived at the target."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow.parquet as pq

from pik.api.replay_job import ReplayJobSpec
from pik.api.targets import S3Format
from pik.domain.instants import Instant
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.replay.dry_run import dry_run
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import begin_run, read_plan, read_record
from pik.execution.replay.settings import ShardSettings
from pik.execution.replay.tools import Tools, Unobserved
from pik.execution.stream import Stream
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.planning.expressions import parse_condition
from pik.planning.replay.pace import EffectivePace
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.spec import replay_spec, run_id
from pik.sinks.s3 import S3Sink

WHOLE = {"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


class Arrived(NamedTuple):
    event_id: str
    data: str
    key: str  # by which a target tells repeats


@dataclass
class Target:
    """A bucket that takes what is sent. Chunks lie in the order in which they were sent, repeats aside."""

    bucket: MemoryBucket = field(default_factory=MemoryBucket)

    @property
    def arrived(self) -> list[Arrived]:
        return [
            Arrived(row["event_id"], row["data"], row["replay_key"])
            for key in sorted(self.bucket.objects)
            for row in pq.read_table(io.BytesIO(self.bucket.objects[key].body)).to_pylist()
        ]


def run_of(stream: Stream, key: str) -> str:
    return run_id(stream.layout.stream_id, "tests", "again", key)


async def planned(
    stream: Stream, key: str, as_of: Instant, *, shards: int = 1, window: dict[str, str] | None = None
) -> ReplayPlan:
    """What a run of all that happened in the window would send, as known at `as_of`."""
    order = {"order": "EventTime"} if shards == 1 else {}
    job = ReplayJobSpec.model_validate(
        {
            "streamRef": {"name": "things"},
            "target": {"type": "S3", "s3": {"bucket": "target", "prefix": "p"}},
            "select": {"window": window or WHOLE},
            "shards": shards,
            **order,
        }
    )
    snapshot = await take_snapshot(stream, as_of, now=stream.clock.now())
    selector = DuckDBSelector(stream, parse_condition)
    return await dry_run(stream, snapshot, replay_spec(job, "tests"), run_of(stream, key), selector)


async def sent(stream: Stream, plan: ReplayPlan, key: str, target: Target, holder: str = "worker") -> int:
    """Begins the run or goes on with it, to its end; how many events it says that it sent."""
    record = await read_record(stream, plan.run_id)
    if record is None:
        await begin_run(stream, plan, namespace="tests", name="again", run_key=key, approved_by=None)
    else:
        begun = await read_plan(stream, plan.run_id, record.plan_hash)
        assert begun is not None
    tools = Tools(
        selector=DuckDBSelector(stream, parse_condition),
        sink=S3Sink(MemoryObjectStore(target.bucket, stream.clock), "p", S3Format.PARQUET, stream.offload),
        dead_letter=None,
        pacer=Pacer(stream.clock, EffectivePace()),
        holder=holder,
        halted=lambda: False,
        observer=Unobserved(),
        settings=ShardSettings(chunk_events=4, first_chunk=4),
    )
    end = await run_replay(stream, plan.run_id, tools, parallelism=plan.spec.shards)
    assert end is not None
    return end.totals.sent
