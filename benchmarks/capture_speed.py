"""How fast events are taken: `python benchmarks/capture_speed.py [--quick]`.

Clients, gateway and emulator are processes on this machine. Naive is boto3, for each event an object PUT
and two conditional puts, one by one; the ceiling is a bare loop of the best conditional batch API, as many
calls at once as is best; the empty handler is pik's own HTTP server with an application that reads a
request and answers it.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

from measuring.bare import Bare
from measuring.http_load import Came, Order
from measuring.report import Figure, figure, report
from measuring.services import Served, emulated, load, served
from measuring.turns import in_turns, ratio

from pik.gateway.server import serving

STREAMS = {
    "on-read": {"storage": {"prefix": "on-read"}, "index": {"deduplication": "OnRead"}},
    "on-write": {"storage": {"prefix": "on-write"}, "index": {"deduplication": "OnWrite"}},
    "by-transactions": {
        "storage": {"prefix": "by-transactions"},
        "index": {"deduplication": "OnWrite", "writes": "Transactions"},
    },
}


class Loads:
    """Orders to a gateway, each with events of its own."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._numbers = itertools.count(0, 10_000_000)
        self.latest: dict[str, Came] = {}

    def rate(self, stream: str, clients: int, requests: int, events: int) -> float:
        """Events a second."""
        url = self._served.events_url(stream)
        return self.of(url, f"{stream}, {clients} clients", clients, requests, events)

    def of(self, url: str, name: str, clients: int, requests: int, events: int) -> float:
        came = load(Order(url, clients, requests, events, next(self._numbers)))
        self.latest[name] = came
        return came.events / came.seconds


async def _empty(_: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"14")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"answers":[]}'})


def _serve(pipe: Connection) -> None:
    async def serve() -> None:
        async with serving(_empty, "127.0.0.1", 0) as url:
            pipe.send(url)
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    asyncio.run(serve())


@contextmanager
def empty_handler() -> Iterator[str]:
    """pik's HTTP server without pik behind it, in a process; its URL."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def main() -> int:
    quick = "--quick" in sys.argv
    rounds = 3 if quick else 7
    part = 4 if quick else 1
    with emulated() as endpoint, served(endpoint, STREAMS) as up, empty_handler() as empty:
        bare, loads = Bare(endpoint), Loads(up)
        sides: dict[str, Callable[[], float]] = {
            "naive": lambda: bare.naive(400 // part),
            "naive, 16 threads": lambda: bare.naive(800 // part, 16),
            **{
                f"{name}, {at_once} at once": lambda way=way, at_once=at_once: way(8_000 // part, at_once)
                for name, way in (
                    ("PartiQL of 25", bare.statements),
                    ("transactions of 100", bare.transactions),
                )
                for at_once in (1, 4, 8)
            },
            "batch OnRead": lambda: loads.rate("on-read", 6, 40 // part, 1_000),
            "batch OnRead, twice": lambda: loads.rate("on-read", 6, 80 // part, 1_000),
            "batch OnWrite, transactions": lambda: loads.rate("by-transactions", 6, 6 // min(part, 2), 1_000),
            "batch OnWrite, twice": lambda: loads.rate("by-transactions", 6, 12 // min(part, 2), 1_000),
            "batch OnWrite, statements": lambda: loads.rate("on-write", 6, 4 // min(part, 2), 1_000),
            "single OnWrite, 16": lambda: loads.rate("on-write", 16, 60 // part, 1),
            "single OnRead, 64": lambda: loads.rate("on-read", 64, 100 // part, 1),
            "empty handler, 64": lambda: loads.of(empty, "empty, 64 clients", 64, 200 // part, 1),
            "single OnRead, 256": lambda: loads.rate("on-read", 256, 60 // part, 1),
            "empty handler, 256": lambda: loads.of(empty, "empty, 256 clients", 256, 60 // part, 1),
        }
        for warm in sides.values():
            warm()
        samples = in_turns(sides, rounds)

        def best(way: str) -> str:
            ways = (name for name in sides if "at once" in name and way in name)
            return max(ways, key=lambda name: median(samples[name]))

        def times(side: str) -> Figure:
            """Time of twice the events ÷ time of once."""
            value = 2 * ratio(samples, side, f"{side.partition(',')[0]}, twice")
            return Figure("twice the events", f"{side}: time of twice", "time of once", value, "≤", 2.1)

        figures: list[Figure] = [
            figure("batches of 1,000, OnRead", samples, "batch OnRead", "naive", bound=450),
            figure("batches of 1,000, OnWrite", samples, "batch OnWrite, transactions", best(""), bound=0.8),
            figure("batches of 1,000, OnWrite", samples, "batch OnWrite, transactions", "naive", bound=30),
            figure("batches of 1,000, OnWrite", samples, "batch OnWrite, statements", best("PartiQL")),
            figure("batches of 1,000, OnWrite", samples, "batch OnWrite, statements", "naive"),
            times("batch OnRead"),
            times("batch OnWrite, transactions"),
            figure("single events, OnWrite", samples, "single OnWrite, 16", "naive, 16 threads", bound=8),
            figure("single events, OnRead", samples, "single OnRead, 64", "empty handler, 64", bound=0.3),
            figure("single events, OnRead", samples, "single OnRead, 256", "empty handler, 256", bound=0.6),
        ]
        latencies = {
            name: f"p50 {c.p50 * 1e3:.1f} ms, p99 {c.p99 * 1e3:.1f} ms" for name, c in loads.latest.items()
        }
        return 0 if report("capture", "events a second", samples, figures, **latencies) else 1


if __name__ == "__main__":
    sys.exit(main())
