"""`pik operator` as a process that can be killed at any moment and started again."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

_PIK = Path(sys.executable).with_name("pik")


class OperatorProcess:
    """One replica. What it prints goes to `log`, one start after the other."""

    def __init__(
        self,
        kubeconfig: Path,
        endpoint: str,
        log: Path,
        *,
        identity: str = "replica-0",
        options: tuple[str, ...] = (),
    ) -> None:
        self._command = [
            str(_PIK),
            "operator",
            "--kubeconfig",
            str(kubeconfig),
            "--identity",
            identity,
            *options,
        ]
        self.endpoint = endpoint
        self._log = log
        self._running: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        if self._running is None:
            raise LookupError("it has not been started")
        return self._running.pid

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(
                *self._command,
                env={**os.environ, "AWS_ENDPOINT_URL": self.endpoint},
                stdout=log,
                stderr=log,
                stdin=asyncio.subprocess.DEVNULL,
            )

    async def kill(self) -> None:
        """SIGKILL: nothing of it is tidied up."""
        if self._running is not None and self._running.returncode is None:
            self._running.kill()
            await self._running.wait()

    async def stop(self) -> int:
        """SIGTERM; its exit code."""
        if self._running is None:
            raise LookupError("it has not been started")
        if self._running.returncode is None:
            self._running.terminate()
        return await self._running.wait()

    def has_ended(self) -> bool:
        return self._running is not None and self._running.returncode is not None

    def printed(self) -> str:
        return self._log.read_text(errors="replace")
