"""How fast many events are counted and aggregated, and in how much memory:
`python benchmarks/reading_speed.py [--quick]`.

An exact dry run beside DuckDB that counts the same events; an aggregate with its inputs hash beside DuckDB
that computes the same rows; both with twice the events. Then each by a process of its own, without a bound of
memory and with one: what it took at its peak, and how long.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
from measuring.alone import PEAK, Task, alone
from measuring.large import LAYOUT, MANY_ENTITIES, large, segments
from measuring.report import Figure, figure, report
from measuring.turns import in_turns
from replay_speed import job

from pik.api.aggregate_version import TimeBucket
from pik.domain.segments import SegmentEntry
from pik.execution.aggregate.compute import compute
from pik.execution.reading.relation import connect, open_arrivals
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.stream import Deduplication, Stream
from pik.planning.definitions import Definition, Measure, WindowText
from pik.planning.expressions import parse_condition
from pik.planning.replay.spec import ReplaySpec, replay_spec

_NAMES = itertools.count()
_FROM, _TO = "2023-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z"
_BOUND = 2**30
_EVENTS = f"""
FROM arrivals
SEMI JOIN (SELECT min(arrival) AS arrival FROM arrivals GROUP BY event_id) USING (arrival)
WHERE event_time >= '{_FROM}' AND event_time < '{_TO}'
"""  # noqa: S608 - constants
_COUNT = f"SELECT count(*) {_EVENTS}"
_AGGREGATE = f"""
SELECT date_trunc('day', event_time) AS day, data->>'$.carrier' AS carrier, count(*),
    sum((data->>'$.arr_delay')::DECIMAL(18, 0)), max((data->>'$.dep_delay')::DECIMAL(18, 0))
{_EVENTS} GROUP BY day, carrier ORDER BY day, carrier
"""


def slice_of_all() -> ReplaySpec:
    return replay_spec(job(), "bench")


def definition() -> Definition:
    """What _AGGREGATE asks."""
    measures = {"flights": "count(*)", "arrived": "sum(payload.arr_delay)", "left": "max(payload.dep_delay)"}
    return Definition(
        stream_id=LAYOUT.stream_id,
        window=WindowText(_FROM, _TO),
        timezone="UTC",
        bucket=TimeBucket.DAY,
        group_by=("payload.carrier",),
        measures=tuple(Measure(name, text) for name, text in measures.items()),
        where=None,
    )


class Sides:
    """The same questions to pik and to DuckDB, of so many of the events. All in seconds."""

    def __init__(self, runner: asyncio.Runner, folder: Path, entries: list[SegmentEntry]) -> None:
        self._runner = runner
        self._folder = folder
        self._entries = entries
        self._stream = runner.run(large(folder, entries, Deduplication.ON_READ))
        self._files = runner.run(self._stream.files.fetch(entries))

    def counted(self) -> float:
        async def measure(stream: Stream) -> int:
            snapshot = await take_snapshot(stream, now=stream.clock.now(), settle=0)
            measured = await DuckDBSelector(stream, parse_condition).measure(
                slice_of_all(), snapshot.segments
            )
            return measured.measure.matched

        return self._timed(lambda: self._runner.run(measure(self._stream)))

    def aggregated(self) -> float:
        async def version(stream: Stream) -> int:
            name = str(next(_NAMES))
            answer = await compute(stream, definition(), namespace="bench", name=name)
            return answer.record.input_count

        # a stream of its own, so that nothing is kept of the last time
        stream = self._runner.run(large(self._folder, self._entries, Deduplication.ON_READ))
        self._runner.run(stream.files.fetch(self._entries))
        return self._timed(lambda: self._runner.run(version(stream)))

    def bare(self, sql: str) -> float:
        def ask() -> None:
            with closing(connect()) as con:
                open_arrivals(con, self._files)
                con.sql(sql).to_arrow_table()

        return self._timed(ask)

    @staticmethod
    def _timed(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began


def in_memory(folder: Path, rounds: int) -> tuple[dict[str, list[float]], list[Figure]]:
    """Replay and aggregate in processes of their own: seconds, and MiB at their peak."""
    sides: dict[str, list[float]] = {}
    for _ in range(rounds):
        for what in ("replay", "aggregate"):
            for memory in (None, "1GiB"):
                told = alone(Task(what, str(folder), memory))
                name = what if memory is None else f"{what}, --memory {memory}"
                sides.setdefault(f"{name}: seconds", []).append(told.seconds)
                sides.setdefault(f"{name}: {PEAK}", []).append(told.peak / 2**20)
    sides["the bound: MiB"] = [_BOUND / 2**20]
    figures = []
    for what in ("replay", "aggregate"):
        bound = f"{what}, --memory 1GiB"
        figures += [
            figure("memory", sides, f"{bound}: {PEAK}", "the bound: MiB", "≤", 1.25),
            figure("memory", sides, f"{bound}: seconds", f"{what}: seconds", "≤", 2),
        ]
    return sides, figures


def main() -> int:
    quick = "--quick" in sys.argv
    count, rounds = (2_000_000, 3) if quick else (10_000_000, 3)
    with tempfile.TemporaryDirectory(prefix="pik-bench-") as scratch, asyncio.Runner() as runner:
        folder = Path(scratch)
        entries = list(segments(folder, count, Deduplication.ON_READ, MANY_ENTITIES))
        (folder / "entries").write_bytes(msgspec.msgpack.encode(entries))
        whole, half = (
            Sides(runner, folder, entries),
            Sides(runner, folder, entries[: len(entries) // 2]),
        )
        sides = {
            "exact dry run": whole.counted,
            "DuckDB counts": lambda: whole.bare(_COUNT),
            "aggregate": whole.aggregated,
            "DuckDB aggregates": lambda: whole.bare(_AGGREGATE),
            "exact dry run of half": half.counted,
            "aggregate of half": half.aggregated,
        }
        half.counted()  # imports, and files that are read for the first time
        samples = in_turns(sides, rounds)
        figures = [
            figure(f"{count:,} events", samples, "exact dry run", "DuckDB counts", "≤", 1.2),
            figure(f"{count:,} events", samples, "aggregate", "DuckDB aggregates", "≤", 1.2),
            figure("twice the events", samples, "exact dry run", "exact dry run of half", "≤", 2.1),
            figure("twice the events", samples, "aggregate", "aggregate of half", "≤", 2.1),
        ]
        more, of_memory = in_memory(folder, 1 if quick else 2)
    return 0 if report("reading", "seconds", samples | more, [*figures, *of_memory]) else 1


if __name__ == "__main__":
    sys.exit(main())
