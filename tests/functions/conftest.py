from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pik.local import emulator as embedded

_ROOT = Path(__file__).parents[2]
_MACHINES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of `ingest`, as the emulator can run it: by its own Python, on this machine."""
    cache = embedded.cache_directory(os.environ)
    python = embedded.install(cache)
    asked = [python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
    version = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    uv = shutil.which("uv") or str(cache / "uv" / "bin" / "uv")
    out = tmp_path_factory.mktemp("lambdas")
    architecture = _MACHINES[platform.machine()]
    command = [sys.executable, _ROOT / "lambdas" / "package.py", "--uv", uv, "--out", out]
    subprocess.run([*command, "--python", version, "--architecture", architecture], check=True)
    return out / f"ingest-{architecture}.zip"
