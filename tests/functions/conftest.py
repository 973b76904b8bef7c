from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from functions.deployed import Packages
from pik.local import emulator as embedded

_ROOT = Path(__file__).parents[2]
_MACHINES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Each made once: for the emulator's own Python, on this machine."""
    out = tmp_path_factory.mktemp("lambdas")

    @cache
    def made(function: str) -> Path:
        cached = embedded.cache_directory(os.environ)
        python = embedded.install(cached)
        asked = [python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
        version = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        uv = shutil.which("uv") or str(cached / "uv" / "bin" / "uv")
        architecture = _MACHINES[platform.machine()]
        command = [sys.executable, _ROOT / "lambdas" / "package.py", "--uv", uv, "--out", out]
        command += ["--python", version, "--architecture", architecture, "--function", function]
        subprocess.run(command, check=True)
        return out / f"{function}-{architecture}.zip"

    return made
