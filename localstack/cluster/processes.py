"""Child processes that never outlive the one that started them."""

from __future__ import annotations

import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TextIO

from cluster.errors import ClusterFailed

_POLL_SECONDS = 0.05
_STOP_SECONDS = 10.0
_TAIL = 2_000


class Ended(Exception):
    """Whoever wanted the cluster wants it no more."""


class Owner:
    """Whoever wants the cluster: it is over by SIGTERM or SIGINT, or when stdin, a pipe from
    the owner, closes.

    Make it in the main thread; it takes over these two signals of the process.
    """

    def __init__(self, pipe: bool) -> None:
        self._wake, waker = socket.socketpair()
        for end in (self._wake, waker):
            end.setblocking(False)
        self._waker = waker  # kept open
        self._over = False
        self._watched: list[socket.socket | TextIO] = [self._wake, *([sys.stdin] if pipe else [])]
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)

    def pause(self, seconds: float | None = _POLL_SECONDS) -> None:
        """Waits (None: for ever). Raises `Ended` as soon as it is over."""
        until = None if seconds is None else time.monotonic() + seconds
        while not self._over:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            ready, _, _ = select.select(self._watched, [], [], left)
            if sys.stdin in ready:  # the owner never writes: it is the end of the pipe
                self._over = True
            if self._wake in ready:
                self._wake.recv(64)
        raise Ended

    def _told(self, _number: int, _frame: FrameType | None) -> None:
        self._over = True


@dataclass
class Children:
    """The programs that run, in the order of their start; each writes to `<logs>/<name>.log`."""

    logs: Path
    owner: Owner
    environ: Mapping[str, str]
    inside: list[str] = field(default_factory=list)  # words before every command, where they run elsewhere
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(
        self, name: str, command: Sequence[str | Path], environ: Mapping[str, str] | None = None
    ) -> None:
        """Starts a program that dies with this process (Linux). `environ`: all of its environment."""
        setpriv = shutil.which("setpriv")
        bound = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*bound, *self.inside, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.environ if environ is None else environ),
            )

    def wait(self, name: str, what: str, holds: Callable[[], bool], seconds: float) -> None:
        """Until it holds. Raises `ClusterFailed` where `name` exits first or the time is up, and `Ended`."""
        deadline = time.monotonic() + seconds
        while not holds():
            code = self.running[name].poll()
            if code is not None:
                raise ClusterFailed(f"{name} exited with {code}; it printed last:\n{self.tail(name)}")
            if time.monotonic() > deadline:
                raise ClusterFailed(f"no {what} in {seconds:.0f} s; {name} printed last:\n{self.tail(name)}")
            self.owner.pause()

    def stop(self) -> None:
        """Ends them all and waits for it. They keep nothing, so they are not asked."""
        for number, process in enumerate(self.running.values()):
            if number == 0 or not self.inside:  # else they end with the first, which is their machine
                process.kill()
            process.wait(_STOP_SECONDS)
        self.running.clear()

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def tail(self, name: str) -> str:
        return self.log(name).read_text(errors="replace")[-_TAIL:]


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for programs that talk to this cluster only."""
    return {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")}


def free_port() -> int:
    """A port of loopback that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
