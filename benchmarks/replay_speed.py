"""How fast a replay reads and sends: `python benchmarks/replay_speed.py [--quick]`.

To a sink that drops everything: the engine's own code over ports in memory, beside DuckDB that selects,
removes duplicates and orders the same rows of the same files, by the SQL that anybody would write. To SQS and
over HTTP: beside a bare loop that sends as many messages of the same size by the same client, as many calls
at once as is best.
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

import httpcore
from measuring.large import MANY_ENTITIES, large, segments
from measuring.receiver import receiving
from measuring.report import figure, report
from measuring.services import emulated
from measuring.turns import best, in_turns

from pik.api.replay_job import ReplayJobSpec
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.sqs_sink import SQSSink
from pik.aws.system import ThreadOffload
from pik.execution.reading.relation import connect, open_arrivals
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.replay.dry_run import dry_run
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.pacing import Pacer
from pik.execution.replay.run import run_replay
from pik.execution.replay.runs import begin_run
from pik.execution.replay.tools import Tools, Unobserved
from pik.execution.stream import Deduplication, Stream
from pik.planning.expressions import parse_condition
from pik.planning.replay.batches import TargetOrder
from pik.planning.replay.estimate import BULK_CHUNK
from pik.planning.replay.pace import EffectivePace
from pik.planning.replay.spec import replay_spec, run_id
from pik.ports.sinks import Batch, Delivery, Disposition, Sink, SinkTraits
from pik.sinks.http import HTTPSink

_DROPPED = Delivery(Disposition.DELIVERED, "")
_KEYS = itertools.count()


class Nothing:
    """`ports.Sink` that drops what it gets: events with their envelopes, as many at once as an object in S3
    would hold."""

    traits = SinkTraits(BULK_CHUNK, 1 << 30, 1, TargetOrder.BATCH, None)

    async def send(self, batch: Batch) -> list[Delivery]:
        return [_DROPPED] * len(batch.messages)

    async def close(self) -> None: ...


def job(limit: int | None = None, **fields: object) -> ReplayJobSpec:
    """The whole window."""
    window = {"from": "2023-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
    more = {} if limit is None else {"limit": limit}
    return ReplayJobSpec.model_validate(
        {
            "streamRef": {"name": "x"},
            "target": {"type": "HTTP", "http": {"url": "https://example.test/"}},
            "select": {"window": window, **more},
            "order": "EventTime",
            **fields,
        }
    )


class Replays:
    """Runs of one stream, each planned anew."""

    def __init__(self, stream: Stream, runner: asyncio.Runner, memory: str | None = None) -> None:
        self._stream = stream
        self._runner = runner
        self._selector = DuckDBSelector(stream, parse_condition, memory)

    def run(self, sink: Sink, spec: ReplayJobSpec) -> float:
        """Events a second from the record of the run to its end."""
        name, key = self._runner.run(self._begin(spec))
        began = time.perf_counter()
        sent = self._runner.run(self._send(name, key, sink, spec.shards))
        return sent / (time.perf_counter() - began)

    def planned(self, sink: Sink, spec: ReplayJobSpec) -> float:
        """Events a second with the exact dry run."""
        began = time.perf_counter()
        name, key = self._runner.run(self._begin(spec))
        sent = self._runner.run(self._send(name, key, sink, spec.shards))
        return sent / (time.perf_counter() - began)

    async def _begin(self, spec: ReplayJobSpec) -> tuple[str, str]:
        stream, key = self._stream, str(next(_KEYS))
        name = run_id(stream.layout.stream_id, "bench", "job", key)
        snapshot = await take_snapshot(stream, now=stream.clock.now(), settle=0)
        plan = await dry_run(stream, snapshot, replay_spec(spec, "bench"), name, self._selector)
        await begin_run(stream, plan, namespace="bench", name="job", run_key=key, approved_by=None)
        return name, key

    async def _send(self, name: str, key: str, sink: Sink, shards: int) -> int:
        tools = Tools(
            selector=self._selector,
            sink=sink,
            dead_letter=None,
            pacer=Pacer(self._stream.clock, EffectivePace()),
            holder=key,
            halted=lambda: False,
            observer=Unobserved(),
        )
        try:
            end = await run_replay(self._stream, name, tools, parallelism=shards)
        finally:
            await sink.close()
        if end is None:
            raise RuntimeError("it was halted")
        return end.totals.sent


_SELECT = """
SELECT event_id, source, event_type, entity_id, epoch_us(event_time) AS event_micros, event_time_rest,
    event_time_text, idempotency_key, attributes, data, segment, row
FROM arrivals
SEMI JOIN (SELECT min(arrival) AS arrival FROM arrivals GROUP BY event_id) USING (arrival)
WHERE event_time >= '2023-01-01T00:00:00Z' AND event_time < '2026-01-01T00:00:00Z'
ORDER BY event_time, event_time_rest, ingest_time, event_id, arrival
"""


def select(files: list[Path]) -> float:
    """Rows a second of DuckDB alone, read to the end."""
    began = time.perf_counter()
    with closing(connect()) as con:
        open_arrivals(con, files)
        reader = con.sql(_SELECT).to_arrow_reader(100_000)
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


async def post(url: str, bodies: list[bytes], at_once: int) -> None:
    """The same client library as pik's and nothing else: a connection for each client, as is best."""
    headers = [(b"Content-Type", b"application/cloudevents+json; charset=utf-8"), (b"User-Agent", b"bare")]
    waiting = iter(bodies)
    origin = httpcore.URL(url).origin

    async def client() -> None:
        async with httpcore.AsyncHTTPConnection(origin) as connection:
            for body in waiting:
                await connection.request("POST", url, headers=headers, content=body)

    await asyncio.gather(*(client() for _ in range(at_once)))


def main() -> int:
    quick = "--quick" in sys.argv
    count, sent, posted, rounds = (300_000, 10_000, 5_000, 3) if quick else (1_000_000, 100_000, 20_000, 3)
    with tempfile.TemporaryDirectory(prefix="pik-bench-") as scratch, asyncio.Runner() as runner:
        entries = list(segments(Path(scratch), count, Deduplication.ON_READ, MANY_ENTITIES))
        stream = runner.run(large(Path(scratch), entries, Deduplication.ON_READ))
        files = runner.run(stream.files.fetch(entries))
        replays = Replays(stream, runner)
        part = runner.run(large(Path(scratch), entries[: len(entries) // 2], Deduplication.ON_READ))
        half = Replays(part, runner)
        reading = {
            "DuckDB: select, dedupe, order": lambda: select(files),
            "replay to nothing": lambda: replays.run(Nothing(), job()),
            "replay to nothing, with its dry run": lambda: replays.planned(Nothing(), job()),
            "replay to nothing, half of it": lambda: half.planned(Nothing(), job()),
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
                "replay to SQS": lambda: purged(lambda: replays.planned(queue.sink(), job(sent))),
                **{
                    f"bare SQS, {n} at once": lambda n=n: purged(lambda: queue.bare(sent, n))
                    for n in (4, 8, 16)
                },
            }
            samples |= in_turns(sending, rounds)
        with receiving() as url:
            bodies = [b"x" * 700] * posted

            def bare(at_once: int) -> float:
                began = time.perf_counter()
                runner.run(post(url, bodies, at_once))
                return posted / (time.perf_counter() - began)

            def over_http() -> float:
                sink = HTTPSink(url, stream.clock, loopback=True)
                return replays.run(sink, job(posted, order="EntityTime", shards=4))

            posting = {
                "replay over HTTP, 4 shards": over_http,
                **{f"bare HTTP, {n} at once": lambda n=n: bare(n) for n in (4, 8, 32)},
            }
            samples |= in_turns(posting, rounds)
    samples["replay of all: seconds"] = [
        count / rate for rate in samples["replay to nothing, with its dry run"]
    ]
    samples["replay of half: seconds"] = [
        count / 2 / rate for rate in samples["replay to nothing, half of it"]
    ]
    figures = [
        figure("twice the events", samples, "replay of all: seconds", "replay of half: seconds", "≤", 2.1),
        figure(
            "whole window, event-time order",
            samples,
            "replay to nothing",
            "DuckDB: select, dedupe, order",
            bound=0.8,
        ),
        figure(
            "whole window, event-time order",
            samples,
            "replay to nothing, with its dry run",
            "DuckDB: select, dedupe, order",
        ),
        figure(
            f"{sent:,} messages, with planning",
            samples,
            "replay to SQS",
            best(samples, "bare SQS"),
            bound=0.8,
        ),
        figure(
            f"{posted:,} messages",
            samples,
            "replay over HTTP, 4 shards",
            best(samples, "bare HTTP"),
            bound=0.7,
        ),
    ]
    return 0 if report("replay", "events a second", samples, figures) else 1


if __name__ == "__main__":
    sys.exit(main())
