"""Producers: they send batches of events over HTTP, and the same again until they are answered.

What they sent, and what they were told at last, is their log: nothing here knows what the truth is.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=20, connect=2)
_START = 1_767_225_600  # 2026-01-01T00:00:00Z
_WAIT = 0.15  # seconds before a batch is sent again; a 503's Retry-After is for larger outages than these
CARRIERS = ["AA", "B6", "DL", "UA", "É9"]


@dataclass(frozen=True)
class Event:
    """`payload`: the very text."""

    source: str
    type: str
    entity: str
    time: str
    key: str
    payload: str

    @property
    def text(self) -> str:
        return (
            f'{{"source":"{self.source}","event_type":"{self.type}","entity_id":"{self.entity}",'
            f'"event_time":"{self.time}","idempotency_key":"{self.key}","payload":{self.payload}}}'
        )


@dataclass(frozen=True)
class Told:
    """An event and the answer to it. `tries`: of the request that brought it."""

    event: Event
    status: str
    event_id: str
    s3_key: str
    row: int
    winner: str | None
    tries: int


@dataclass
class Producers:
    """`count`: how many send side by side; `urls`: of the writers that they send to. `repeating`: the share
    of batches of which a part is sent once more; `racing`: of batches whose keys are sent by several at once,
    each with a payload of its own."""

    urls: Sequence[str]
    random: Random
    count: int = 4
    repeating: float = 0.1
    racing: float = 0.2
    largest: int = 60  # events of a batch
    pause: float = 0.04  # seconds at most that a producer waits between two batches
    log: list[Told] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)  # tries, by what came instead of an answer
    odd: list[str] = field(default_factory=list)  # answers that no producer should get
    least: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # a tenth of `least` answers has come
    enough: asyncio.Event = field(default_factory=asyncio.Event)  # `least` answers have come
    _made: int = 0
    _waiting: deque[list[Event]] = field(default_factory=deque)
    _stopped: bool = False

    def stop(self) -> None:
        """No new batches: what has been made is sent to its end."""
        self._stopped = True

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=False)
        headers = {"content-type": "application/json"}
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers, timeout=_TIMEOUT) as session,
            asyncio.TaskGroup() as group,
        ):
            for number in range(self.count):
                group.create_task(self._client(session, number))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = number
        while True:
            if not self._waiting:
                if self._stopped:
                    return
                self._make()
            batch = self._waiting.popleft()
            tries = 0
            while True:
                tries += 1
                url = self.urls[turn % len(self.urls)]
                answers = await self._try(session, url, batch)
                if answers is not None:
                    break
                turn += 1  # as a load balancer would: to another one
                await asyncio.sleep(_WAIT)
            for event, answer in zip(batch, answers, strict=True):
                try:
                    told = Told(
                        event, answer["status"], answer["event_id"], answer["s3_key"], answer["row"],
                        answer.get("winner"), tries,
                    )  # fmt: skip
                except KeyError:
                    self.odd.append(f"{event.key}: {answer}")
                else:
                    self.log.append(told)
            for event, wanted in ((self.begun, self.least / 10), (self.enough, self.least)):
                if len(self.log) >= wanted:
                    event.set()
            turn += self.random.random() < 0.3
            await asyncio.sleep(self.random.uniform(0, self.pause))

    async def _try(
        self, session: aiohttp.ClientSession, url: str, batch: list[Event]
    ) -> list[dict[str, Any]] | None:
        body = f'{{"events":[{",".join(event.text for event in batch)}]}}'.encode()
        try:
            async with session.post(url, data=body) as answer:
                if answer.status == 200:
                    found: list[dict[str, Any]] = (await answer.json())["answers"]
                    return found
                self.failed[str(answer.status)] += 1
                if answer.status not in (429, 500, 503):
                    self.odd.append(f"{answer.status}: {await answer.text()}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failed[type(error).__name__] += 1
        return None

    def _make(self) -> None:
        """A batch; or the same keys with other payloads for several producers."""
        size = self.random.choice([1, 3, 10, 30, self.largest])
        batch = [self._event() for _ in range(size)]
        if self.random.random() < self.racing:
            others = [[self._varied(event, n) for event in batch] for n in range(1, 3)]
            self._waiting.extend([batch, *others])
            return
        self._waiting.append(batch)
        if self.random.random() < self.repeating:
            self._waiting.append(self.random.sample(batch, max(1, size // 2)))

    def _event(self) -> Event:
        number = self._made
        self._made += 1
        second = _START + self.random.randrange(6 * 3_600)
        hour, rest = divmod(second - _START, 3_600)
        time = f"2026-01-01T{hour:02d}:{rest // 60:02d}:{rest % 60:02d}.{number % 1_000:03d}Z"
        carrier = self.random.choice(CARRIERS)
        # spaces, an escape, and a number's zeros: what a reader that parses and writes again would change
        payload = (
            f'{{"n": {number},"carrier":"{carrier}","delay":{self.random.randint(-20, 400)} ,'
            f'"gate":"\\u0041{number % 7}","ratio":1.{number % 10}0}}'
        )
        return Event("departures", "flight", f"N{number % 97}", time, f"k-{number}", payload)

    def _varied(self, event: Event, number: int) -> Event:
        delay = f'"delay":{1_000 * number + self.random.randint(0, 99)} '
        payload = re.sub(r'"delay":-?\d+ ', delay, event.payload)
        return Event(event.source, event.type, event.entity, event.time, event.key, payload)
