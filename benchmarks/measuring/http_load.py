"""Clients of a gateway, in a process of their own: `python http_load.py` with an order as JSON on stdin, and
what came of it as JSON on stdout. Bodies are made before the clock starts.

Each client sends its next request when the last is answered. A 429 or 503 is sent again after its
Retry-After. With `every` requests come at their times, answered or not, and none is sent again.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from hashlib import blake2b

import aiohttp
import msgspec


class Order(msgspec.Struct):
    """`url`: where to POST. `first`: number of the first event, so that no two orders send the same one."""

    url: str
    clients: int
    requests: int  # of each client
    events: int  # of each request
    first: int
    entities: int = 10_000
    every: float = 0.0  # seconds between two requests of all clients together; 0: when the last is answered


class Came(msgspec.Struct):
    """Of accepted requests alone, but for `refused`."""

    seconds: float
    events: int
    requests: int
    refused: int
    p50: float  # seconds from a request's first try to its answer
    p99: float
    longest: float = 0.0
    taken: list[int] = []  # with `every`: number of the first event of each accepted request
    retry_after: list[str] = []  # with `every`: of each refused one


def event(number: int, entities: int) -> dict[str, object]:
    """A flight-like event of some 400 bytes."""
    word = blake2b(number.to_bytes(8), digest_size=8).hexdigest()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_700_000_000 + number % 31_536_000))
    return {
        "source": "departures",
        "event_type": "flight",
        "entity_id": f"N{int(word[:8], 16) % entities}",
        "event_time": f"{moment}.{number % 1_000:03d}Z",
        "idempotency_key": f"{number}-{word}",
        "payload": {
            "number": number,
            "carrier": word[:2],
            "flight": number % 9_000,
            "origin": "EWR",
            "dest": word[2:5],
            "dep_delay": number % 61 - 10,
            "arr_delay": number % 83 - 20,
            "air_time": 227,
            "distance": 1_400,
            "tail": f"N{word[:6]}",
        },
    }


def bodies(order: Order, client: int) -> Iterator[bytes]:
    encode = msgspec.json.encode
    for request in range(order.requests):
        start = order.first + (client * order.requests + request) * order.events
        yield encode({"events": [event(start + i, order.entities) for i in range(order.events)]})


async def storm(order: Order) -> Came:
    work = [body for client in range(order.clients) for body in bodies(order, client)]
    took: list[float] = []
    taken: list[int] = []
    retry_after: list[str] = []
    loop = asyncio.get_running_loop()
    headers = {"content-type": "application/json"}

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def one(number: int, body: bytes) -> None:
            began = loop.time()
            async with session.post(order.url, data=body) as answer:
                text = await answer.read()
                if answer.status == 200:
                    took.append(loop.time() - began)
                    taken.append(order.first + number * order.events)
                elif answer.status in (429, 503):
                    retry_after.append(answer.headers["retry-after"])
                else:
                    raise RuntimeError(f"{answer.status}: {text[:500]!r}")

        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for number, body in enumerate(work):
                await asyncio.sleep(began + number * order.every - loop.time())
                group.create_task(one(number, body))
        seconds = loop.time() - began
    took.sort()
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    events, refused = len(took) * order.events, len(retry_after)
    return Came(seconds, events, len(took), refused, p50, p99, took[-1], taken, retry_after)


async def run(order: Order) -> Came:
    if order.every:
        return await storm(order)
    work = [list(bodies(order, client)) for client in range(order.clients)]
    took: list[float] = []
    refused = events = 0
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"content-type": "application/json"}
    loop = asyncio.get_running_loop()

    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def client(mine: list[bytes]) -> None:
            nonlocal refused, events
            for body in mine:
                began = loop.time()
                while True:
                    async with session.post(order.url, data=body) as answer:
                        text = await answer.read()
                        if answer.status == 200:
                            took.append(loop.time() - began)
                            events += order.events
                            break
                        if answer.status not in (429, 503):
                            raise RuntimeError(f"{answer.status}: {text[:500]!r}")
                        refused += 1
                        await asyncio.sleep(float(answer.headers["retry-after"]))

        began = loop.time()
        await asyncio.gather(*(client(mine) for mine in work))
        seconds = loop.time() - began
    took.sort()
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    return Came(seconds, events, len(took), refused, p50, p99, took[-1])


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(given))))
