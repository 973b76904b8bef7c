"""The embedded emulator of a folder: started for it, with its buckets and tables beside the manifests."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import msgspec

from pik.local.emulator import Emulator, EmulatorFailed, cache_directory, install, is_healthy, start, stop
from pik.local.files import read_if_there, write_whole
from pik.local.state import State

_RECORD = "emulator.json"
_CONVENTIONAL = 4566
"""LocalStack's port, so that queue URLs in manifests can stay as they are."""


@contextmanager
def embedded(state: State, port: int | None) -> Iterator[str]:
    """Its endpoint while the block runs; then it is stopped, and what it holds is kept. One that an earlier
    process left behind is taken over. `port` None: that of the last time or the conventional one, where it
    is free. Raises `EmulatorFailed`."""
    path = state.root / _RECORD
    left = read_if_there(path)
    emulator = None if left is None else msgspec.json.decode(left, type=Emulator)
    if emulator is None or not _is_alive(emulator):
        home = state.root / "emulator"
        python = install(cache_directory(os.environ))
        chosen = _free_one(state) if port is None else port
        if chosen and not _is_free(chosen):
            raise EmulatorFailed(f"port {chosen} of this machine is in use: give another --emulator-port")
        emulator = start(python, log=home / "log", state=home, port=chosen)
        write_whole(path, msgspec.json.encode(emulator))
    try:
        yield emulator.endpoint
    finally:
        stop(emulator)
        path.unlink(missing_ok=True)


def _is_alive(emulator: Emulator) -> bool:
    """Whether this very process still answers: its port may be another's by now."""
    try:
        os.kill(emulator.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return is_healthy(emulator.endpoint)


def _free_one(state: State) -> int:
    last = state.up()
    before = urlsplit(last.endpoint).port if last is not None and last.endpoint is not None else None
    return next((port for port in (before, _CONVENTIONAL) if port and _is_free(port)), 0)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
