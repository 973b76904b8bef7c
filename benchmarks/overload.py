"""Twice the events that a gateway can take: `python benchmarks/overload.py [--quick]`.

What it can take is measured by clients that wait for their answers. Then twice as many requests come at
their times, whether others are answered or not, and what is refused is not sent again. At the end the bucket
is read, by nothing of pik: each acknowledged event has to be in it.
"""

from __future__ import annotations

import io
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from measuring.http_load import Came, Order
from measuring.report import Figure, report
from measuring.services import emulated, load, served

from pik.aws.clients import AwsAccess, AwsClients

EVENTS = 500  # of a request
MAX_WAIT = 2.0
BUCKET = "pik-overload"
MOST_MIB = 400  # that memory may grow by: what waits for two seconds, and the garbage of reading it


def stream(prefix: str, deduplication: str) -> dict[str, object]:
    return {
        "storage": {"prefix": prefix, "bucket": {"name": f"{BUCKET}-{prefix}"}},
        "index": {"deduplication": deduplication},
    }


class Resident:
    """The most MiB that a process had."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.most = self.now()

    def now(self) -> int:
        return int(self._status.read_text().split("VmRSS:")[1].split()[0]) // 1024

    @contextmanager
    def watched(self) -> Iterator[None]:
        stopped = threading.Event()

        def look() -> None:
            while not stopped.wait(0.1):
                self.most = max(self.most, self.now())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


def stored(endpoint: str, bucket: str) -> set[int]:
    """Numbers of the events in raw."""
    s3 = AwsClients(AwsAccess(endpoint_url=endpoint, region="us-east-1")).client("s3")
    found: set[int] = set()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            if item["Key"].endswith(".parquet"):
                body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
                keys = pq.read_table(io.BytesIO(body), columns=["idempotency_key"])[0].to_pylist()
                found.update(int(key.partition("-")[0]) for key in keys)
    return found


def lost(endpoint: str, bucket: str, came: Came) -> int:
    """Acknowledged events that are not in raw."""
    there = stored(endpoint, bucket)
    return sum(number not in there for first in came.taken for number in range(first, first + EVENTS))


def main() -> int:
    seconds = 8 if "--quick" in sys.argv else 30
    figures: list[Figure] = []
    samples: dict[str, list[float]] = {}
    more: dict[str, object] = {}
    streams = {name.lower(): stream(name.lower(), name) for name in ("OnWrite", "OnRead")}
    options = ("--max-wait", str(MAX_WAIT))
    with emulated() as endpoint, served(endpoint, streams, *options) as up:
        for name in ("OnWrite", "OnRead"):
            url, numbers = up.events_url(name.lower()), itertools.count(0, 10_000_000)
            for requests in (2, 2, 8 if name == "OnWrite" else 30):  # the first ones warm it up
                calm = load(Order(url, 6, requests, EVENTS, next(numbers)))
            can = calm.events / calm.seconds
            memory = Resident(up.pid)
            before = memory.now()
            twice = 2 * can / EVENTS  # requests a second
            order = Order(url, 1, round(twice * seconds), EVENTS, next(numbers), every=1 / twice)
            with memory.watched():
                came = load(order)
            time.sleep(0.5)
            missing = lost(endpoint, f"{BUCKET}-{name.lower()}", came)
            samples[f"{name}: what it can take"] = [can]
            samples[f"{name}: taken of twice that"] = [came.events / came.seconds]
            bound = MAX_WAIT + calm.longest
            what = f"twice what it can take, {name}"
            figures += [
                Figure(what, "taken", "what it can take", came.events / came.seconds / can, "≥", 0.5),
                Figure(what, "longest answer", "longest wait + commit", came.longest / bound, "≤", 2),
                Figure(what, "MiB more", f"{MOST_MIB} MiB", (memory.most - before) / MOST_MIB, "≤", 1),
                Figure(what, "acknowledged events lost", "1", missing, "≤", 0),
                Figure(what, "requests refused", "requests", came.refused / order.requests),
            ]
            more[name] = (
                f"{came.requests} requests taken (p50 {came.p50:.2f} s, p99 {came.p99:.2f} s, longest "
                f"{came.longest:.2f} s), {came.refused} refused with Retry-After "
                f"{'/'.join(sorted(set(came.retry_after)))} s; "
                f"calm: p99 {calm.p99:.2f} s; memory {before} MiB before, {memory.most} MiB at most"
            )
    return 0 if report("overload", "events a second", samples, figures, **more) else 1


if __name__ == "__main__":
    sys.exit(main())
