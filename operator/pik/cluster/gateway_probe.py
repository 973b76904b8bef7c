"""Whether the gateway takes requests: asked of its Service, as a caller would reach it."""

from __future__ import annotations

import httpx

from pik.ports.system import Clock

_SECONDS = 2.0  # for one answer


class GatewayProbe:
    """One answer serves every stream for `fresh` seconds. Belongs to one event loop; close it."""

    def __init__(self, url: str, clock: Clock, fresh: float = 5.0) -> None:
        self._url = f"{url}/readyz"
        self._clock = clock
        self._fresh = fresh
        self._client = httpx.AsyncClient(timeout=_SECONDS, trust_env=False)  # no proxy inside a cluster
        self._asked: int | None = None  # microseconds
        self._answered = False

    async def answers(self) -> bool:
        now = self._clock.now().micros
        if self._asked is None or now - self._asked > self._fresh * 1_000_000:
            self._asked = now
            try:
                self._answered = (await self._client.get(self._url)).is_success
            except httpx.HTTPError:
                self._answered = False
        return self._answered

    async def close(self) -> None:
        await self._client.aclose()
