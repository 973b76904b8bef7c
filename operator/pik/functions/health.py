"""What a function says of itself when it is asked before it gets events."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pik.domain.layout import segment_id
from pik.domain.segments import SegmentHead
from pik.execution.generations import ready_generation
from pik.execution.stream import Stream

CHECK = {"pik": "health"}


def is_health_check(event: Mapping[str, Any]) -> bool:
    return event == CHECK


async def health(stream: Stream) -> dict[str, Any]:
    """`generation`: of the index, which it could read; and it could make a segment. `strangers`: modules that
    come from neither the function's package nor Python itself, so that what is missing in the package is
    seen also where something else makes up for it. `cpu_seconds`, `peak_mib`: of this process since it began,
    the most memory that it had where Linux says so. Raises what `ready_generation` does."""
    state = await ready_generation(stream)
    now = stream.clock.now()
    nothing = SegmentHead(stream.layout.stream_id, segment_id(now, "0" * 20, state.number), now)
    await stream.offload(stream.codec.encode, nothing, [])
    return {
        "generation": state.number,
        "python": sys.version.split()[0],
        "strangers": strangers(),
        "cpu_seconds": round(time.process_time(), 3),
        "peak_mib": _peak_mib(),
    }


def _peak_mib() -> int | None:
    """Of VmHWM: what getrusage says is inherited from whoever started the process."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return None if found is None else int(found[1]) // 1024


def strangers() -> list[str]:
    """Names of loaded modules that come from neither the function's package nor Python itself."""
    own = [Path(os.environ.get("LAMBDA_TASK_ROOT", Path.cwd()))]
    own += [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    found = []
    runtime = getattr(sys.modules["__main__"], "__file__", None)
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file in (None, runtime):
            continue
        path = Path(file)
        if not any(path.is_relative_to(each) for each in own) or "site-packages" in path.parts:
            found.append(name)
    return found
