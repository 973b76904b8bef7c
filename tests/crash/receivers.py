"""Targets of replays: what they got is what was sent, whatever a sender believes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Delivery:
    """`key`: the stable id that the target is to drop repeats by. `peer`: the sender's port, of HTTP."""

    key: str
    body: bytes
    peer: int = 0


async def _at_once(_: Delivery) -> None: ...


@dataclass
class Receiver:
    """An HTTP endpoint. `before_answer`: awaited when a request has been taken in."""

    got: list[Delivery] = field(default_factory=list)
    before_answer: Callable[[Delivery], Awaitable[None]] = _at_once
    url: str = ""
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def _take(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except ConnectionError:
            return web.Response(status=400)  # its sender is dead
        peer = request.transport.get_extra_info("peername")[1] if request.transport else 0
        delivery = Delivery(request.headers["Idempotency-Key"], body, peer)
        async with self._arrived:
            self.got.append(delivery)
            self._arrived.notify_all()
        await self.before_answer(delivery)
        return web.Response(status=202)

    async def until(self, count: int, seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: len(self.got) >= count)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/hook", made._take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield made
    finally:
        await runner.cleanup()


def drained(sqs: Any, url: str) -> list[Delivery]:
    """Everything that lies in a queue; it is empty then."""
    found: list[Delivery] = []
    while messages := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], WaitTimeSeconds=0
    ).get("Messages"):
        for each in messages:
            key = each["MessageAttributes"]["pikkey"]["StringValue"]
            found.append(Delivery(key, each["Body"].encode()))
        entries = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    return found
