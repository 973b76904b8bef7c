"""What a million events ask of AWS and cost there: `python benchmarks/capture_cost.py [--quick]`.

The engine's own code over the real adapters and an emulator, in this process, so that each request on the
wire is counted, by the observer that botocore's events and the shorter way tell. As at a gateway, 6 clients
send 1,000 events a request.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec
from measuring.http_load import event
from measuring.report import Figure, report
from measuring.services import emulated

from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_index import DynamoIndex
from pik.aws.dynamo_table import DynamoTable
from pik.aws.index_items import SCHEMA
from pik.aws.observing import CallResult
from pik.aws.s3_objects import S3ObjectStore
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.domain.decode import decode_json
from pik.domain.intake import Decoded, IntakeRules
from pik.domain.layout import Layout
from pik.execution.capture.capture import Capture
from pik.execution.ownership import Claimant, claim
from pik.execution.parquet import ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream

MILLION = 1_000_000
# Public list prices of us-east-1 in US dollars, S3 Standard and DynamoDB on demand, as AWS has had them since
# 2024-11-01 (aws.amazon.com/s3/pricing, aws.amazon.com/dynamodb/pricing/on-demand).
PUT, GET = 0.005 / 1_000, 0.0004 / 1_000
WRITE_UNIT, READ_UNIT = 0.625 / MILLION, 0.125 / MILLION
NAIVE_REQUESTS = 3 * MILLION  # for each event an object and two conditional items
NAIVE_DOLLARS = MILLION * (PUT + 2 * WRITE_UNIT)


class Counted:
    """`AwsObserver`."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()

    def answered(
        self,
        service: str,  # noqa: ARG002
        operation: str,
        result: CallResult,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
        attempt: int,  # noqa: ARG002
    ) -> None:
        self.requests[operation] += 1


def dollars(requests: Mapping[str, int], events: int, units: int) -> float:
    """Of so many requests. `units`: write units of an event's index entry, also in the index by entity. A
    manifest row is a transaction: a check and an item of up to 1 KB, two units each."""
    manifest_rows = requests["PutObject"]  # one for each segment
    return (
        requests["PutObject"] * PUT
        + requests["GetObject"] * GET
        + (events * units + 4 * manifest_rows) * WRITE_UNIT
        + requests["GetItem"] * READ_UNIT
    )


async def ingest(stream: Stream, clients: int, requests: int, events: int) -> None:
    capture, rules = Capture(stream), IntakeRules()
    numbers = itertools.count(0, events)

    async def client() -> None:
        for _ in range(requests):
            start = next(numbers)
            body = msgspec.json.encode([event(start + n, 10_000) for n in range(events)])
            taken = decode_json(body, rules)
            await capture.ingest([each.arrival if isinstance(each, Decoded) else each for each in taken])

    await asyncio.gather(*(client() for _ in range(clients)))
    await capture.close()


async def count(
    endpoint: str, name: str, deduplication: Deduplication, requests: int, *, transactions: bool = False
) -> Counter[str]:
    """The AWS requests of `6 × requests × 1,000` events."""
    counted = Counted()
    clients = AwsClients(AwsAccess(endpoint_url=endpoint, region="us-east-1"), counted)
    s3, dynamodb = clients.client("s3"), clients.client("dynamodb")
    s3.create_bucket(Bucket=name)
    dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **SCHEMA)
    io, clock, entropy = ThreadOffload(32), SystemClock(), SystemEntropy()
    objects = S3ObjectStore(clients.quick_s3(s3), name, io, clock)
    table = DynamoTable(clients.quick_dynamodb(dynamodb), name, io, clock, entropy)
    owner = await claim(objects, "p/", Claimant("bench", "bench", name), entropy)

    async def there() -> bool:
        return True

    with tempfile.TemporaryDirectory(prefix="pik-bench-") as scratch:
        stream = Stream(
            "bench",
            name,
            Layout("p/", owner.stream_id),
            deduplication,
            None,
            (),
            objects,
            DynamoIndex(table, transactions=transactions),
            SegmentCache(objects, Path(scratch), io),
            ParquetCodec(),
            clock,
            entropy,
            io,
            owner.epoch,
        )
        await reindex(stream, there)
        counted.requests.clear()
        await ingest(stream, 6, requests, 1_000)
    io.close()
    return counted.requests


def main() -> int:
    requests = 4 if "--quick" in sys.argv else 17
    events = 6 * requests * 1_000
    samples: dict[str, list[float]] = {"naive": [NAIVE_REQUESTS / MILLION * events]}
    figures: list[Figure] = []
    costs = {"naive": NAIVE_DOLLARS}
    sides = (
        ("OnRead", Deduplication.ON_READ, False, 0, 1_000),
        ("OnWrite", Deduplication.ON_WRITE, False, 2, 40),
        ("OnWrite by transactions", Deduplication.ON_WRITE, True, 3, 40),
    )
    with emulated() as endpoint:
        for name, deduplication, transactions, units, bound in sides:
            bucket = name.lower().replace(" ", "-")
            counted = asyncio.run(count(endpoint, bucket, deduplication, requests, transactions=transactions))
            samples[name] = [float(counted.total())]
            fewer = 3 * events / counted.total()
            figures.append(Figure("AWS requests, batches of 1,000", "naive", name, fewer, "≥", bound))
            costs[name] = dollars(counted, events, units) * MILLION / events
    told = {f"a million events, {name}": f"${cost:,.3f}" for name, cost in costs.items()}
    return 0 if report("cost", f"AWS requests of {events:,} events", samples, figures, **told) else 1


if __name__ == "__main__":
    sys.exit(main())
