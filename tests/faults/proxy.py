"""An HTTP/1.1 proxy between a client and the AWS emulator that makes calls fail, and keeps a log of it.

    with faulty(emulator, sometimes(seed=7, share=0.3)) as proxy:
        access = AwsAccess(endpoint_url=proxy.endpoint)   # or AWS_ENDPOINT_URL of a process
        ...
    assert proxy.counts["s3.PUT", "ResetAfter"] > 0

It works on a thread of its own, so that blocking clients may be used beside it. The request is passed on as
it came, `Host` (which is signed) too; only a request that fails in part is rewritten, which breaks its
signature: nothing for an emulator that checks them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h11

from faults import calls, parts
from faults.calls import Answer, Call, Headers
from faults.policy import Fault, Kind, Policy, When
from faults.wire import Side, exchange, plain

_RST = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close() resets


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of a request. `forwarded`: the service has seen it, or the rest of it (Part). `status`: as
    answered to the client; None: no whole answer."""

    call: Call
    fault: Fault | None
    forwarded: bool
    status: int | None


class Dropped(Exception):
    """The connection is not to be used any more."""


@dataclass(slots=True)
class FaultProxy:
    """`policy` may be changed at any time. `log`: in the order in which requests were done with."""

    upstream: str
    policy: Policy
    port: int = 0
    log: list[Entry] = field(default_factory=list)
    numbers: Counter[str] = field(default_factory=Counter)  # calls of each operation so far
    open: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """How often which operation met which fault (`""`: none)."""
        return Counter((entry.call.name, str(entry.fault or "")) for entry in self.log)

    @property
    def failed(self) -> int:
        """Requests to which something was done."""
        return sum(entry.fault is not None for entry in self.log)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self.open.add(task)
            task.add_done_callback(self.open.discard)
        client = Side(h11.Connection(h11.SERVER), reader, writer)
        try:
            while (request := await client.request()) is not None:
                await self._serve(client, request)
                if not client.again():
                    break
        except (Dropped, ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass  # the client is gone, or was sent away
        finally:
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, client: Side, request: tuple[h11.Request, bytes]) -> None:
        asked, body = request
        method, path = asked.method.decode(), asked.target.decode("latin-1")
        service, operation = calls.named(method, path, asked.headers, body)
        call = Call(service, operation, self.numbers[f"{service}.{operation}"], method, path)
        self.numbers[call.name] += 1
        fault = self.policy(call)
        kind = None if fault is None else fault.kind
        if fault is None or kind is Kind.DELAY:
            if fault is not None:
                await asyncio.sleep(fault.seconds)
            answer = await self._forward(asked, body)
            self._note(call, fault, answer.status)
            await client.answer(answer)
        elif kind is Kind.PART:
            every_other = range(call.number % 2, 1_000, 2)
            split = parts.split(
                call, body, every_other if fault.entries is None else fault.entries, fault.code
            )
            answer = split.answer(None if split.rest is None else await self._forward(asked, split.rest))
            self._note(call, fault, answer.status, forwarded=split.rest is not None)
            await client.answer(answer)
        else:
            await self._fail(client, call, fault, asked, body)

    async def _fail(self, client: Side, call: Call, fault: Fault, asked: h11.Request, body: bytes) -> None:
        true: Answer | None = None
        if fault.when is When.AFTER or fault.kind is Kind.TRUNCATE:
            true = await self._forward(asked, body)
        made = {
            Kind.THROTTLE: lambda: calls.throttled(call, fault.retry_after),
            Kind.ERROR: lambda: calls.broken(call),
            Kind.CODE: lambda: calls.error(call, fault.status, fault.code or "", "chosen by the test"),
        }
        if fault.kind in made:
            answer = made[fault.kind]()
            self._note(call, fault, answer.status, forwarded=true is not None)
            await client.answer(answer)
            return
        self._note(call, fault, None, forwarded=true is not None)
        if fault.kind is Kind.TRUNCATE and true is not None and len(true.body) > 1:
            await client.truncated(true)
        elif fault.kind is Kind.SILENCE:
            await client.gone()
        else:  # a body of which nothing can be cut off is lost as a whole
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            client.writer.transport.abort()
        raise Dropped

    async def _forward(self, asked: h11.Request, body: bytes) -> Answer:
        """A connection for each request: none can be stale."""
        place = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        try:
            side = Side(h11.Connection(h11.CLIENT), reader, writer)
            return await exchange(side, asked, _with_length(asked.headers, body), body)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _note(self, call: Call, fault: Fault | None, status: int | None, *, forwarded: bool = True) -> None:
        self.log.append(Entry(call, fault, forwarded, status))


def _with_length(headers: Headers, body: bytes) -> Headers:
    kept = plain(headers, b"content-length", b"transfer-encoding", b"expect", b"connection")
    return [*kept, (b"Content-Length", str(len(body)).encode()), (b"Connection", b"close")]


@contextmanager
def faulty(upstream: str, policy: Policy) -> Iterator[FaultProxy]:
    """A proxy on a free port of this machine, until the block ends."""
    proxy = FaultProxy(upstream, policy)
    listening = socket.create_server(("127.0.0.1", 0))
    proxy.port = listening.getsockname()[1]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fault-proxy")
    thread.start()
    starting = asyncio.start_server(proxy.connected, sock=listening)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result()

    async def end() -> None:
        server.close()
        for task in proxy.open:
            task.cancel()
        await asyncio.gather(*proxy.open, return_exceptions=True)
        loop.stop()

    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop)
        thread.join()
        loop.close()
