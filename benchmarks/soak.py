"""Mixed load for long: `python benchmarks/soak.py [--minutes 30]`, or `make soak`.

Two streams begin with a history, so that what is computed over them has come to the bound of its memory. Then
local mode takes batches and single events, new ones and repeats, `OnWrite` and `OnRead`; every few rounds
a replay to S3 and an aggregate are made, and deleted again. What the process has (memory, open files,
threads) is looked at after every round: in the last third of the rounds it may have no more than in the
middle third, but for a margin. Data that are kept grow, and what remembers them a little.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import yaml
from measuring.http_load import Order
from measuring.report import Figure, report
from measuring.services import Served, emulated, load, served

from pik.aws.clients import AwsAccess, AwsClients

TARGET = "pik-soak-target"
MARGIN = {"MiB": 1.1, "open files": 1.05, "threads": 1.0}
_EVERY = 4  # rounds between two replays and aggregates
_BATCH = 200  # events
_HISTORY = 1_000_000  # events of each stream before the first round
_PIECE = 100_000


@dataclass
class Numbers:
    """Which events come next, so that each is new unless it is meant to be a repeat."""

    next: int = 0

    def take(self, count: int) -> int:
        first = self.next
        self.next += count
        return first


def has(pid: int) -> dict[str, float]:
    """What a process has now (Linux)."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return {
        "MiB": int(status["VmRSS"].split()[0]) / 1024,
        "open files": float(len(list(Path(f"/proc/{pid}/fd").iterdir()))),
        "threads": float(status["Threads"]),
    }


def history(up: Served, numbers: Numbers) -> int:
    """Events that were acknowledged."""
    acknowledged = 0
    for stream in ("decided", "recorded"):
        for _ in range(_HISTORY // _PIECE):
            order = Order(up.events_url(stream), 4, _PIECE // 4_000, 1_000, numbers.take(_PIECE))
            acknowledged += load(order).events
    return acknowledged


def one_round(up: Served, numbers: Numbers) -> int:
    """Events that were acknowledged."""
    acknowledged = 0
    for stream in ("decided", "recorded"):
        url = up.events_url(stream)
        first = numbers.take(4 * 10 * _BATCH)
        acknowledged += load(Order(url, 4, 10, _BATCH, first)).events
        acknowledged += load(Order(url, 1, 2, _BATCH, first)).events  # repeats
        acknowledged += load(Order(url, 8, 20, 1, numbers.take(8 * 20))).events
    return acknowledged


def investigate(up: Served, number: int) -> None:
    """A replay and an aggregate of each stream, until they are done; then they are deleted."""
    window = ("--from", "2023-01-01T00:00:00Z", "--to", "2026-01-01T00:00:00Z")
    for stream in ("decided", "recorded"):
        name = f"{stream}-{number}"
        target = f"s3://{TARGET}/{name}"
        which = ("--limit", "5000", "--on-stale", "Send")
        up.pik("replay", stream, "--name", name, *window, *which, "--to-s3", target, "--run")
        aggregate = {
            "apiVersion": "pik.dev/v1alpha1",
            "kind": "AggregateVersion",
            "metadata": {"name": name},
            "spec": {
                "streamRef": {"name": stream},
                "window": {"from": window[1], "to": window[3]},
                "bucket": "Month",
                "measures": [{"name": "flights", "expression": "count(*)"}],
            },
        }
        file = up.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(aggregate))
        for kind in ("replayjob", "aggregateversion"):
            up.pik("wait", kind, name, "--for", "condition=Complete", "--timeout", "300")
        up.pik("inspect", "duplicates", stream, "-o", "json")
        up.pik("delete", "replayjob", name)
        file.unlink()


def growth(samples: dict[str, list[float]]) -> list[Figure]:
    """Of the last third of the rounds beside the middle one."""
    figures = []
    for what, bound in MARGIN.items():
        seen = samples[what]
        third = max(1, len(seen) // 3)
        value = median(seen[-third:]) / median(seen[third : 2 * third] or seen[:third])
        figures.append(Figure("growth", f"{what}, last third", "middle third", value, "≤", bound))
    return figures


def main() -> int:
    minutes = float(sys.argv[sys.argv.index("--minutes") + 1]) if "--minutes" in sys.argv else 30.0
    with emulated() as endpoint:
        s3 = AwsClients(AwsAccess(endpoint_url=endpoint, region="us-east-1")).client("s3")
        s3.create_bucket(Bucket=TARGET)
        streams = {
            "decided": {"storage": {"prefix": "decided"}, "index": {"deduplication": "OnWrite"}},
            "recorded": {"storage": {"prefix": "recorded"}, "index": {"deduplication": "OnRead"}},
        }
        samples: dict[str, list[float]] = {what: [] for what in MARGIN}
        numbers, acknowledged, rounds = Numbers(), 0, 0
        # the streams grow all the time: without a bound so does what one computation takes of memory
        with served(endpoint, streams, "--memory", "512MB") as up:
            acknowledged += history(up, numbers)
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end:
                acknowledged += one_round(up, numbers)
                if rounds % _EVERY == 0:
                    investigate(up, rounds)
                rounds += 1
                for what, value in has(up.pid).items():
                    samples[what].append(value)
    figures = growth(samples)
    more = {"minutes": minutes, "rounds": rounds, "events acknowledged": acknowledged}
    return 0 if report("soak", "after each round", samples, figures, **more) else 1


if __name__ == "__main__":
    sys.exit(main())
