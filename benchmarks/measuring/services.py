"""An emulator and local mode beside the benchmark, as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml

from measuring.http_load import Came, Order
from pik.local import emulator

_PIK = Path(sys.executable).with_name("pik")
_LOAD = Path(__file__).with_name("http_load.py")
_READY_SECONDS = 60


@contextmanager
def emulated() -> Iterator[str]:
    """An AWS emulator that begins empty; its endpoint."""
    python = emulator.install(emulator.cache_directory(os.environ))
    with tempfile.TemporaryDirectory(prefix="pik-bench-") as scratch:
        started = emulator.start(python, log=Path(scratch) / "emulator.log")
        try:
            yield started.endpoint
        finally:
            emulator.stop(started)


@dataclass(frozen=True)
class Served:
    """Local mode at work. `folder`: what it reconciles."""

    folder: Path
    gateway: str
    pid: int

    def events_url(self, stream: str) -> str:
        return f"{self.gateway}/v1/streams/default/{stream}/events"

    def pik(self, *words: str) -> str:
        """What a command printed."""
        told = subprocess.run([_PIK, "-C", self.folder, *words], check=True, capture_output=True, text=True)
        return told.stdout


@contextmanager
def served(endpoint: str, streams: Mapping[str, Mapping[str, object]], *options: str) -> Iterator[Served]:
    """`pik up` on a folder with these streams (name → spec), all of them Ready."""
    with tempfile.TemporaryDirectory(prefix="pik-bench-") as scratch:
        folder = Path(scratch) / "streams"
        folder.mkdir()
        for name, spec in streams.items():
            manifest = {
                "apiVersion": "pik.dev/v1alpha1",
                "kind": "CaptureStream",
                "metadata": {"name": name},
                "spec": spec,
            }
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest))
        with (Path(scratch) / "up.log").open("wb") as log:
            process = subprocess.Popen(
                [_PIK, "up", folder, "--endpoint-url", endpoint, "--region", "us-east-1", *options],
                stdout=log,
                stderr=log,
            )
        try:
            state = folder / ".pik" / "up.json"
            deadline = time.monotonic() + _READY_SECONDS
            while not state.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            for name in streams:
                wait = ["wait", "capturestream", name, "--for", "condition=Ready"]
                words = [_PIK, "-C", folder, *wait, "--timeout", str(_READY_SECONDS)]
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            up = msgspec.json.decode(state.read_bytes())
            yield Served(folder, up["gateway"], process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_READY_SECONDS)


def load(order: Order) -> Came:
    """Plays an order of HTTP requests in a process of its own."""
    told = subprocess.run(
        [sys.executable, _LOAD], input=msgspec.json.encode(order), check=True, stdout=subprocess.PIPE
    )
    return msgspec.json.decode(told.stdout, type=Came)
