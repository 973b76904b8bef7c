"""One computation over a large stream in a process of its own, so that its memory is its own."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import msgspec

PEAK = "MiB at most"


class Task(msgspec.Struct):
    what: str  # replay or aggregate
    folder: str  # of the segments, with their `entries`
    memory: str | None


class Told(msgspec.Struct):
    seconds: float
    peak: int  # bytes: the largest resident set of the process


def alone(task: Task) -> Told:
    told = subprocess.run(
        [sys.executable, __file__], input=msgspec.json.encode(task), check=True, stdout=subprocess.PIPE
    )
    return msgspec.json.decode(told.stdout, type=Told)


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import reading_speed
    import replay_speed

    from measuring.large import large
    from pik.domain.segments import SegmentEntry
    from pik.execution.aggregate.compute import compute
    from pik.execution.stream import Deduplication

    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    folder = Path(task.folder)
    entries = msgspec.msgpack.decode((folder / "entries").read_bytes(), type=list[SegmentEntry])
    with asyncio.Runner() as runner:
        stream = runner.run(large(folder, entries, Deduplication.ON_READ, keeps=False))
        runner.run(stream.files.fetch(entries))
        began = time.perf_counter()
        if task.what == "replay":
            replay_speed.Replays(stream, runner, task.memory).planned(
                replay_speed.Nothing(), replay_speed.job()
            )
        else:
            asked = compute(
                stream, reading_speed.definition(), namespace="bench", name="one", memory=task.memory
            )
            runner.run(asked)
        seconds = time.perf_counter() - began
    sys.stdout.buffer.write(msgspec.json.encode(Told(seconds, _peak())))


def _peak() -> int:
    """Of this program; getrusage would count who started it, too (Linux)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError("/proc/self/status says no VmHWM")
    return int(found[1]) * 1024


if __name__ == "__main__":
    main()
