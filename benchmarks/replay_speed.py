"""How fast a replay reads and sends: `python benchmarks/replay_speed.py [--quick]`.

To a sink that drops everything: the engine's own code over ports in memory, beside DuckDB that selects,
removes duplicates and orders the same rows of the same files. To SQS: beside a bare loop that sends as many
messages of the same size by the same client, as many calls at once as is best.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from measuring.report import figure, report
from measuring.services import emulated
from measuring.stored import stored
from measuring.turns import in_turns

from pik.api.replay_job import ReplayJobSpec
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.sqs_sink import SQSSink
from pik.aws.system import ThreadOffload
from pik.execution.reading.relation import connect, open_arrivals, open_events
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.replay.dry_run import dry_run
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import begin_run
from pik.execution.replay.settings import ShardSettings
from pik.execution.replay.tools import Tools, Unobserved
from pik.execution.stream import Deduplication, Stream
from pik.planning.expressions import parse_condition
from pik.planning.replay.batches import TargetOrder
from pik.planning.replay.pace import EffectivePace
from pik.planning.replay.select_sql import shard_query
from pik.planning.replay.spec import replay_spec, run_id
from pik.ports.sinks import Batch, Delivery, Disposition, Sink, SinkTraits

_DROPPED = Delivery(Disposition.DELIVERED, "")
_KEYS = itertools.count()


class Nothing:
    """`ports.Sink` that drops what it gets."""

    traits = SinkTraits(1_000, 1 << 30, 1, TargetOrder.MESSAGE, None)

    async def send(self, batch: Batch) -> list[Delivery]:
        return [_DROPPED] * len(batch.messages)

    async def close(self) -> None: ...


def job(limit: int | None = None) -> ReplayJobSpec:
    """The whole window."""
    window = {"from": "2023-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
    more = {} if limit is None else {"limit": limit}
    return ReplayJobSpec.model_validate(
        {
            "streamRef": {"name": "x"},
            "target": {"type": "HTTP", "http": {"url": "https://example.test/"}},
            "select": {"window": window, **more},
            "order": "EventTime",
        }
    )


async def _replay(stream: Stream, sink: Sink, spec: ReplayJobSpec) -> int:
    selector = DuckDBSelector(stream, parse_condition)
    key = str(next(_KEYS))
    name = run_id(stream.layout.stream_id, "bench", "job", key)
    snapshot = await take_snapshot(stream, now=stream.clock.now(), settle=0)
    plan = await dry_run(stream, snapshot, replay_spec(spec, "bench"), name, selector)
    await begin_run(stream, plan, namespace="bench", name="job", run_key=key, approved_by=None)
    tools = Tools(
        selector=selector,
        sink=sink,
        dead_letter=None,
        pacer=Pacer(stream.clock, EffectivePace()),
        holder=key,
        halted=lambda: False,
        observer=Unobserved(),
        settings=ShardSettings(),
    )
    end = await run_replay(stream, name, tools, parallelism=1)
    if end is None:
        raise RuntimeError("it was halted")
    return end.totals.sent


def select(stream: Stream, files: list[Path], spec: ReplayJobSpec) -> float:
    """Rows a second of DuckDB alone, read to the end."""
    on_read = stream.deduplication is Deduplication.ON_READ
    query = shard_query(replay_spec(spec, "bench"), None, on_read=on_read, shard=0, start=0)
    began = time.perf_counter()
    with closing(connect()) as con:
        open_arrivals(con, files)
        open_events(con, stream.deduplication)
        reader = con.sql(query.sql, params=query.parameters).to_arrow_reader(100_000)
        rows = sum(batch.num_rows for batch in reader)
    return rows / (time.perf_counter() - began)


class Queue:
    """A queue of the emulator: to be sent to by the engine, or by a bare loop."""

    def __init__(self, endpoint: str, body: int) -> None:
        self._client = AwsClients(AwsAccess(endpoint_url=endpoint, region="us-east-1")).client("sqs")
        self._url = self._client.create_queue(QueueName="bench")["QueueUrl"]
        self._io = ThreadOffload(32)
        self._body = "x" * body

    def sink(self) -> SQSSink:
        return SQSSink(self._client, self._io, self._url)

    def bare(self, events: int, at_once: int) -> float:
        """Messages a second."""
        text = {"DataType": "String", "StringValue": "application/cloudevents+json"}
        names = ("contentType", "pikrun", "pikkey")

        def send(start: int) -> None:
            entries: Any = [
                {
                    "Id": str(n),
                    "MessageBody": self._body,
                    "MessageAttributes": {
                        name: {**text, "StringValue": f"{start + n:064x}"} for name in names
                    },
                }
                for n in range(10)
            ]
            self._client.send_message_batch(QueueUrl=self._url, Entries=entries)

        with ThreadPoolExecutor(at_once) as pool:
            began = time.perf_counter()
            list(pool.map(send, range(0, events, 10)))
            return events / (time.perf_counter() - began)

    def purge(self) -> None:
        self._client.purge_queue(QueueUrl=self._url)


def main() -> int:
    quick = "--quick" in sys.argv
    count, sent, rounds = (100_000, 10_000, 3) if quick else (300_000, 100_000, 5)
    with tempfile.TemporaryDirectory(prefix="pik-bench-") as scratch, asyncio.Runner() as runner:
        stream = runner.run(stored(Path(scratch), count, Deduplication.ON_READ))

        async def files_of() -> list[Path]:
            snapshot = await take_snapshot(stream, now=stream.clock.now(), settle=0)
            return await stream.files.fetch(snapshot.segments)

        files = runner.run(files_of())

        def replayed(sink: Callable[[], Sink], spec: ReplayJobSpec) -> float:
            began = time.perf_counter()
            events = runner.run(_replay(stream, sink(), spec))
            return events / (time.perf_counter() - began)

        reading = {
            "DuckDB: select, dedupe, order": lambda: select(stream, files, job()),
            "replay to nothing": lambda: replayed(Nothing, job()),
        }
        for warm in reading.values():
            warm()
        samples = in_turns(reading, rounds)
        with emulated() as endpoint:
            queue = Queue(endpoint, 700)

            def purged(rate: Callable[[], float]) -> float:
                try:
                    return rate()
                finally:
                    queue.purge()

            sending = {
                "replay to SQS": lambda: purged(lambda: replayed(queue.sink, job(sent))),
                **{
                    f"bare SQS, {n} at once": lambda n=n: purged(lambda: queue.bare(sent, n))
                    for n in (4, 8, 16)
                },
            }
            samples |= in_turns(sending, rounds)
    best = max(
        (name for name in samples if "bare SQS" in name), key=lambda name: sorted(samples[name])[rounds // 2]
    )
    figures = [
        figure(
            "whole window, event-time order",
            samples,
            "replay to nothing",
            "DuckDB: select, dedupe, order",
            bound=0.8,
        ),
        figure(f"{sent:,} messages, with planning", samples, "replay to SQS", best, bound=0.8),
    ]
    return 0 if report("replay", "events a second", samples, figures) else 1


if __name__ == "__main__":
    sys.exit(main())
