"""`make demo`, as a newcomer runs it: every promise of the story is checked by the story itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "flights"


@pytest.mark.loopback
def test_the_story_holds(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, EXAMPLE / "demo.py", "--home", tmp_path / "demo"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    told = done.stdout
    assert "336,776 flights and 26,115 readings in raw, 0 lost" in told
    assert "132 flights landed after midnight (32.8 → 59.6 minutes" in told
    assert "sent 132 = received 132 = expected 132" in told
    assert "rebuilt from raw alone: the same version" in told
    assert "Traceback" not in told
