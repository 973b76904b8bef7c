"""What Flux makes of objects, by its own libraries, built once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent / "flux"
_BUILD_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Flux:
    program: Path

    def kstatus(self, objects: Sequence[dict[str, Any]]) -> list[str]:
        """By kstatus: Current, InProgress, Failed or Terminating for each."""
        return self._ask(objects)

    def health(self, expressions: Mapping[str, str], objects: Sequence[dict[str, Any]]) -> list[str]:
        """By `healthCheckExprs`; Unknown where they cannot be evaluated, which Flux repeats."""
        return self._ask(objects, json.dumps(expressions))

    def _ask(self, objects: Sequence[dict[str, Any]], *arguments: str) -> list[str]:
        done = subprocess.run(
            [self.program, *arguments],
            input=json.dumps(objects),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        found: list[str] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="session")
def flux() -> Flux:
    return Flux(_built())


def _built() -> Path:
    files = [*sorted(SOURCE.glob("*.go")), SOURCE / "go.mod", SOURCE / "go.sum"]
    digest = sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pik" / "flux"
    program = cache / digest
    if program.exists():
        return program
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Flux's libraries are built with Go, and there is none", pytrace=False)
        pytest.skip("Flux's libraries are built with Go: install it (https://go.dev)")
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
