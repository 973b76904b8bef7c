"""Connections to an HTTP target: kept, one user at a time, and none once they are closed."""

from __future__ import annotations

from contextlib import AsyncExitStack

import httpcore

from pik.sinks.connections import Connections

URL = "http://example.test/"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def connections(*answers: bytes) -> Connections:
    return Connections(URL, httpcore.AsyncMockBackend(list(answers)))


async def test_the_one_that_was_used_last_is_used_again() -> None:
    kept = connections(ANSWER, ANSWER)
    async with kept.one() as first:
        await first.request("POST", URL)
    async with kept.one() as second:
        assert second is first
        async with kept.one() as third:
            assert third is not second


async def test_what_broke_is_not_used_again() -> None:
    kept = connections(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", ANSWER)
    async with kept.one() as first:
        await first.request("POST", URL)
    async with kept.one() as second:
        assert second is not first


async def test_one_that_was_at_work_is_closed_when_it_is_done() -> None:
    kept = connections(ANSWER)
    async with AsyncExitStack() as using:
        connection = await using.enter_async_context(kept.one())
        await kept.aclose()
        await connection.request("POST", URL)
        assert not connection.is_closed()
    assert connection.is_closed()
