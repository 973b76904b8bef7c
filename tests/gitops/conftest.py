"""kstatus as Flux uses it, built once from its own library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent / "kstatus"
_BUILD_SECONDS = 600

KStatus = Callable[[Sequence[dict[str, Any]]], list[str]]


@pytest.fixture(scope="session")
def kstatus() -> KStatus:
    """What kstatus makes of objects: Current, InProgress, Failed or Terminating for each."""
    program = _built()

    def ask(objects: Sequence[dict[str, Any]]) -> list[str]:
        done = subprocess.run(
            [program], input=json.dumps(objects), capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return [result["Status"] for result in json.loads(done.stdout)]

    return ask


def _built() -> Path:
    files = [*sorted(SOURCE.glob("*.go")), SOURCE / "go.mod", SOURCE / "go.sum"]
    digest = sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pik" / "kstatus"
    program = cache / digest
    if program.exists():
        return program
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        if os.environ.get("CI") == "true":
            pytest.fail("kstatus is built with Go, and there is none", pytrace=False)
        pytest.skip("kstatus is built with Go: install it (https://go.dev)")
    cache.mkdir(parents=True, exist_ok=True)
    part = cache / f"{digest}.{os.getpid()}"
    done = subprocess.run(
        [go, "build", "-ldflags", "-s -w", "-o", part, "."],
        cwd=SOURCE,
        env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    part.rename(program)  # whole or not at all
    return program
