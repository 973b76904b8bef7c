"""HTTP/1.1 over a stream, by h11: whole requests and whole answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import h11

from faults.calls import Answer, Headers

_CHUNK = 65_536


@dataclass(slots=True)
class Side:
    """One end of a connection."""

    http: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> tuple[h11.Request, bytes] | None:
        """The next request with its body; None where the client is gone."""
        first = await self.event()
        if not isinstance(first, h11.Request):
            return None
        if self.http.they_are_waiting_for_100_continue:
            await self.send(h11.InformationalResponse(status_code=100, headers=[]))
        return first, await self.body()

    async def body(self) -> bytes:
        parts = []
        while isinstance(event := await self.event(), h11.Data):
            parts.append(bytes(event.data))
        return b"".join(parts)

    async def event(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.reader.read(_CHUNK))
        return event

    async def send(self, *events: h11.Event) -> None:
        self.writer.write(b"".join(self.http.send(event) or b"" for event in events))
        await self.writer.drain()

    async def answer(self, answer: Answer) -> None:
        head = h11.Response(status_code=answer.status, headers=_framed(answer))
        await self.send(head, h11.Data(data=answer.body), h11.EndOfMessage())

    async def truncated(self, answer: Answer) -> None:
        """The head of an answer, and half of its body."""
        head = h11.Response(status_code=answer.status, headers=_framed(answer))
        await self.send(head, h11.Data(data=answer.body[: len(answer.body) // 2]))

    async def gone(self) -> None:
        """Waits until the client goes away."""
        while await self.reader.read(_CHUNK):
            pass

    def again(self) -> bool:
        """Makes ready for another request; False where the connection is done with."""
        if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
            return False
        self.http.start_next_cycle()
        return True


async def exchange(side: Side, asked: h11.Request, headers: Headers, body: bytes) -> Answer:
    """One request to a server, and its answer."""
    request = h11.Request(method=asked.method, target=asked.target, headers=list(headers))
    await side.send(request, h11.Data(data=body), h11.EndOfMessage())
    head = await side.event()
    while isinstance(head, h11.InformationalResponse):
        head = await side.event()
    if not isinstance(head, h11.Response):
        raise ConnectionResetError("the server went away")
    return Answer(head.status_code, list(head.headers.raw_items()), await side.body())


def plain(headers: Headers, *without: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in without]


def _framed(answer: Answer) -> list[tuple[bytes, bytes]]:
    """With a length, whatever the server used; that of a HEAD stays."""
    kept = plain(answer.headers, b"transfer-encoding", b"connection", b"content-length")
    told = next((value for name, value in answer.headers if name.lower() == b"content-length"), None)
    return [*kept, (b"Content-Length", told or str(len(answer.body)).encode())]
