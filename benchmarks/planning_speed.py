"""How long the estimate of a dry run takes: `python benchmarks/planning_speed.py [--quick]`.

Ten million events in 1,000 segments, over the emulator: the bounds of a slice from the manifest alone, beside
paging the manifest rows by boto3 and doing nothing with them. Then the same with a hundredth of the events in
as many segments, and with twice the segments: it grows with these. No segment is there, since none is read.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, NoReturn

import msgspec
from measuring.report import figure, report
from measuring.services import emulated
from measuring.turns import in_turns

from pik.api.replay_job import ReplayJobSpec
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_index import DynamoIndex
from pik.aws.dynamo_table import DynamoTable
from pik.aws.index_items import SCHEMA, generation_item, segment_item
from pik.aws.s3_objects import S3ObjectStore
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.domain.instants import Instant
from pik.domain.layout import Layout, segment_id
from pik.domain.segments import GenerationRecord, SegmentEntry, TimeRange
from pik.execution.parquet import ParquetCodec
from pik.execution.replay.estimating import estimate
from pik.execution.stream import Deduplication, Stream
from pik.planning.replay.estimate import Bounds
from pik.planning.replay.spec import replay_spec

_MINUTE = 60_000_000  # microseconds


class NoFiles:
    async def fetch(self, entries: object) -> NoReturn:
        raise RuntimeError(f"an estimate reads no segment: {entries}")


class Planned:
    """A stream of so many segments of so many rows each."""

    def __init__(self, endpoint: str, name: str, segments: int, rows: int, io: ThreadOffload) -> None:
        clients = AwsClients(AwsAccess(endpoint_url=endpoint, region="us-east-1", connections=16))
        self._s3: Any = clients.client("s3")
        self._dynamodb: Any = clients.client("dynamodb")
        self._name = name
        self._s3.create_bucket(Bucket=name)
        self._dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **SCHEMA)
        clock, entropy = SystemClock(), SystemEntropy()
        quick = clients.quick_s3(self._s3), clients.quick_dynamodb(self._dynamodb)
        self.stream = Stream(
            "bench",
            "planned",
            Layout("", "0" * 32),
            Deduplication.ON_WRITE,
            None,
            (),
            S3ObjectStore(quick[0], name, io, clock),
            DynamoIndex(DynamoTable(quick[1], name, io, clock, entropy)),
            NoFiles(),
            ParquetCodec(),
            clock,
            entropy,
            io,
        )
        self._fill(segments, rows)

    def _fill(self, segments: int, rows: int) -> None:
        layout, now = self.stream.layout, self.stream.clock.now().micros
        nonce = "0" * 32
        record = msgspec.json.encode(GenerationRecord(1, nonce, ()))
        self._s3.put_object(Bucket=self._name, Key=layout.generation(1), Body=record)
        self._dynamodb.put_item(TableName=self._name, Item=generation_item(1, nonce, ready=True))

        def put(number: int) -> None:
            at = Instant(now - (segments - number) * _MINUTE)
            segment = segment_id(at, f"{number:020x}", 1)
            key = layout.segment(segment)
            entry = SegmentEntry(
                segment=segment,
                key=key,
                sha256=sha256(key.encode()).hexdigest(),
                bytes=80 * rows,
                rows=rows,
                ingest_time=at,
                known_from=at,
                event_time=TimeRange(Instant(at.micros - 5 * _MINUTE), at),
                received_time=None,
                outcomes={"ACCEPTED": rows - 5, "DUPLICATE": 5},
                sources=("departures",),
                event_types=("flight",),
                sources_complete=True,
                event_types_complete=True,
            )
            self._dynamodb.put_item(TableName=self._name, Item=segment_item(entry))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(segments)))

    def paged(self) -> None:
        """The manifest rows, for nothing."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._name,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": "#segments"}},
            ConsistentRead=True,
        )
        for _ in pages:
            pass

    async def estimated(self) -> Bounds:
        window = {"from": "2023-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
        job = ReplayJobSpec.model_validate(
            {
                "streamRef": {"name": "x"},
                "target": {"type": "HTTP", "http": {"url": "https://example.test/"}},
                "select": {"window": window},
            }
        )
        return await estimate(self.stream, replay_spec(job, "bench"))


def main() -> int:
    quick = "--quick" in sys.argv
    rounds = 15 if quick else 41
    io = ThreadOffload(8)
    with emulated() as endpoint, asyncio.Runner() as runner:
        whole = Planned(endpoint, "bench-whole", 1_000, 10_000, io)
        few = Planned(endpoint, "bench-few-events", 1_000, 100, io)
        twice = Planned(endpoint, "bench-twice", 2_000, 10_000, io)

        def timed(work: Callable[[], object]) -> Callable[[], float]:
            def run() -> float:
                began = time.perf_counter()
                work()
                return (time.perf_counter() - began) * 1_000

            return run

        def estimating(planned: Planned) -> Callable[[], float]:
            return timed(lambda: runner.run(planned.estimated()))

        found = runner.run(whole.estimated())
        if (found.segments, found.most) != (1_000, 9_995_000):
            raise SystemExit(f"it is not of ten million events: {found}")
        sides = {
            "paging 1,000 manifest rows": timed(whole.paged),
            "paging 2,000 manifest rows": timed(twice.paged),
            "estimate, 10,000,000 events": estimating(whole),
            "estimate, 100,000 events": estimating(few),
            "estimate, 2,000 segments": estimating(twice),
        }
        for warm in sides.values():
            warm()
        samples = in_turns(sides, rounds)
    io.close()
    thousand_rows, two_thousand_rows, ten_million, few_events, two_thousand = sides
    figures = [
        figure("estimate of a dry run", samples, ten_million, thousand_rows, sense="≤", bound=2),
        figure("twice the segments", samples, two_thousand, two_thousand_rows, sense="≤"),
        figure("a hundred times the events", samples, ten_million, few_events, sense="≤"),
        figure("twice the segments", samples, two_thousand, ten_million, sense="≤"),
    ]
    return 0 if report("planning", "milliseconds", samples, figures) else 1


if __name__ == "__main__":
    sys.exit(main())
