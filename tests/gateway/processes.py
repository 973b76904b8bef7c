"""`pik` processes, a line to a server that can be cut, and producers that send until they are answered."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

PATIENCE = 120.0  # seconds, for anything
_PIK = Path(sys.executable).with_name("pik")
_LOOK_UP = 0.05


class Never(AssertionError):
    """What was waited for did not come."""


class PikProcess:
    """One process. What it writes to stderr goes to `log`."""

    def __init__(self, log: Path, environ: Mapping[str, str], *words: str | Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [_PIK, *words],
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def ended(self) -> int:
        """Its exit code, once it has ended. Raises subprocess.TimeoutExpired."""
        return self._process.wait(PATIENCE)

    def lines(self) -> list[dict[str, Any]]:
        """Its log; a line that is none is a failure."""
        return [
            json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")
        ]

    def said(self, pattern: str) -> re.Match[str]:
        """Once a message matches. Raises `Never`."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for line in self.lines():
                if match := re.search(pattern, line["message"]):
                    return match
            if self._process.poll() is not None:
                break
            time.sleep(_LOOK_UP)
        raise Never(f"{pattern}: {self.log.read_text()[-3000:]}")


class GatewayProcess(PikProcess):
    """`url`: of events, `health`: of metrics and probes."""

    def __init__(self, log: Path, environ: Mapping[str, str], *words: str | Path) -> None:
        here = ("--host", "127.0.0.1", "--port", "0", "--metrics-port", "0")
        super().__init__(log, environ, "gateway", *here, *words)
        found = self.said(r"events come to (\S+), health and metrics are at (\S+)")
        self.url, self.health = found[1], found[2]

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.health}/readyz", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def until_ready(self) -> None:
        until("the gateway is ready", self.is_ready)


def until(what: str, holds: Callable[[], bool]) -> None:
    """Raises `Never`."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise Never(what)
        time.sleep(_LOOK_UP)


async def comes(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """As `until`, without holding up the loop."""
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        if time.monotonic() > deadline:
            raise Never(what)
        await asyncio.sleep(_LOOK_UP)


class Relay:
    """A line to a server of this machine that can be cut, and mended."""

    def __init__(self, server: str) -> None:
        self._port = urlsplit(server).port or 443
        self._open = True
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """The port to use instead."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self.cut()
            await server.wait_closed()

    def cut(self) -> None:
        self._open = False
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self._open = True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, back}

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while part := await source.read(65_536):
                    sink.write(part)
                    await sink.drain()
            except OSError:
                pass
            sink.transport.abort()

        await asyncio.gather(pump(reader, back), pump(there, writer))
        self._writers -= {writer, back}


def event(key: str, amount: int = 1) -> dict[str, Any]:
    return {
        "source": "tests",
        "event_type": "happened",
        "entity_id": f"entity-{sum(key.encode()) % 7}",
        "event_time": "2026-02-10T00:00:00Z",
        "payload": {"key": key, "amount": amount},
        "idempotency_key": key,
    }


async def send(
    client: httpx.AsyncClient, url: str, events: Sequence[dict[str, Any]], token: str | None = None
) -> httpx.Response:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return await client.post(url, json=list(events), headers=headers)


class Producers:
    """They send events one after the other, each until it has an answer that says that it is stored: to the
    first gateway that `choose` names, or another at the next try."""

    def __init__(self, choose: Callable[[], Sequence[str]], path: str) -> None:
        self._choose = choose
        self._path = path
        self.answers: dict[str, str] = {}  # by key
        self.failures: list[str] = []
        self.stopping = False

    async def run(self, number: int, size: int) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            count = 0
            while not self.stopping:
                keys = [f"p{number}-{count + offset}" for offset in range(size)]
                count += size
                await self._until_stored(client, keys)

    async def _until_stored(self, client: httpx.AsyncClient, keys: list[str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            gateways = self._choose()
            for url in gateways:
                try:
                    response = await send(client, f"{url}{self._path}", [event(key) for key in keys])
                except httpx.HTTPError as error:
                    self.failures.append(f"{url}: {type(error).__name__}")
                    continue
                if response.status_code == 200:
                    told = [answer["status"] for answer in response.json()["answers"]]
                    self.answers |= dict(zip(keys, told, strict=True))
                    return
                self.failures.append(f"{url}: {response.status_code} {response.text}")
            await asyncio.sleep(_LOOK_UP)
        raise Never(f"{keys} are not stored: {self.failures[-3:]}")

    async def until(self, count: int) -> None:
        """So many more events are stored."""
        wanted = len(self.answers) + count

        async def holds() -> bool:
            return len(self.answers) >= wanted

        await comes(f"{count} events more are stored", holds)
