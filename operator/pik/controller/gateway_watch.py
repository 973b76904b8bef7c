"""Whether the gateway takes requests, watched for all streams at once: their own passes are far apart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pik.ports.system import Clock


class GatewayWatch:
    """`answers`: as of `World`. `changed`: called when that is not what it was, and `World` would say so."""

    def __init__(
        self,
        answers: Callable[[], Awaitable[bool]],
        changed: Callable[[], None],
        clock: Clock,
        every: float = 10.0,
    ) -> None:
        """`every`: seconds between two questions."""
        self._answers = answers
        self._changed = changed
        self._clock = clock
        self._every = every

    async def run(self) -> None:
        """Until cancelled."""
        before: bool | None = None
        while True:
            now = await self._answers()
            if before not in (None, now):
                self._changed()
            before = now
            await self._clock.sleep(self._every)
