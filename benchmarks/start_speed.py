"""How long it takes to start: `python benchmarks/start_speed.py [--quick]`.

Whole processes, in turns: `import pik` and `pik --help` beside `python -c pass`, modules compiled as an
installation leaves them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from measuring.report import figure, report
from measuring.turns import in_turns

_PYTHON = sys.executable
_PIK = str(Path(_PYTHON).with_name("pik"))
_NOTHING = "python -c pass"
_SIDES = {
    _NOTHING: [_PYTHON, "-c", "pass"],
    "import pik": [_PYTHON, "-c", "import pik"],
    "pik --help": [_PIK, "--help"],
}


def timed(command: list[str]) -> Callable[[], float]:
    """Milliseconds of one process."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run() -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environ)
        return (time.perf_counter() - began) * 1_000

    return run


def main() -> int:
    rounds = 15 if "--quick" in sys.argv else 50
    sides = {name: timed(command) for name, command in _SIDES.items()}
    for warm in sides.values():
        warm()
    samples = in_turns(sides, rounds)
    figures = [
        figure("to start", samples, name, _NOTHING, sense="≤", bound=8) for name in sides if name != _NOTHING
    ]
    return 0 if report("start", "milliseconds", samples, figures) else 1


if __name__ == "__main__":
    sys.exit(main())
