"""How much longer one entity's replay takes when the rest of the stream is a hundred times as much:
`python benchmarks/entity_speed.py [--quick]`.

The entity has a thousand events in a few segments, which are the same files in both streams. A replay of it
is planned (snapshot and exact dry run) and sent: to a sink that drops everything, and over HTTP to a local
server. Each opens the stream anew, so that nothing is left of the last time but the files in its folder. The
index is in memory and has the entity's own entries: how it finds them among others is DynamoDB's part.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
from measuring.large import MANY_ENTITIES, ROWS, large, segments
from measuring.receiver import receiving
from measuring.report import Figure, figure, report
from measuring.turns import Samples, in_turns
from replay_speed import Nothing, Replays, job

from pik.aws.system import SystemClock
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry
from pik.execution.replay.narrowing import PLACES
from pik.execution.stream import Deduplication
from pik.ports.index import Reservation
from pik.ports.sinks import Batch, Delivery, Sink
from pik.sinks.http import HTTPSink

ONE = "one"
EVENTS = 1_000  # of it
TIMES = 100
WHAT = "one entity of a stream that grows 100-fold"
FIRST = "OnRead, dropped, in a hundred times, for the first time"
_JOB = job(
    select={"window": {"from": "2023-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "entities": [ONE]},
    order="EntityTime",
)


class Streams:
    """The segments that hold the entity, by themselves and among a hundred times as many."""

    def __init__(
        self, runner: asyncio.Runner, folder: Path, deduplication: Deduplication, holding: int
    ) -> None:
        self._runner = runner
        self._folders = {True: folder / "many", False: folder / "few"}
        self._deduplication = deduplication
        held = f"number // {ROWS} % {TIMES} = {TIMES // 2} AND number % {ROWS} < {EVENTS // holding}"
        entity = f"CASE WHEN {held} THEN '{ONE}' ELSE {MANY_ENTITIES} END"
        every = list(segments(self._folders[True], holding * TIMES * ROWS, deduplication, entity))
        few = every[TIMES // 2 :: TIMES]
        self._entries = {True: every, False: few}
        self._folders[False].mkdir()
        for each in few:
            name = f"{each.segment}.parquet"
            (self._folders[False] / name).hardlink_to(self._folders[True] / name)
        on_write = deduplication is Deduplication.ON_WRITE
        self._index = (
            [row for each in few for row in _indexed(self._folders[False], each)] if on_write else []
        )

    def first(self, sink: Callable[[], Sink]) -> float:
        """In many, when nothing was derived from them yet."""
        shutil.rmtree(self._folders[True] / PLACES)
        return self.milliseconds(sink, many=True)

    def milliseconds(self, sink: Callable[[], Sink], *, many: bool) -> float:
        """From the snapshot to the end of the run."""
        made = large(self._folders[many], self._entries[many], self._deduplication, index=self._index)
        replays = Replays(self._runner.run(made), self._runner)
        gc.collect()
        return EVENTS / replays.planned(sink(), _JOB) * 1_000

    def check(self) -> None:
        """That it is of so many events in both streams."""
        for many in (False, True):
            counting = Counting()
            self.milliseconds(lambda counting=counting: counting, many=many)
            if counting.sent != EVENTS:
                raise RuntimeError(f"{counting.sent} events were sent, not {EVENTS}")


class Counting(Nothing):
    def __init__(self) -> None:
        self.sent = 0

    async def send(self, batch: Batch) -> list[Delivery]:
        self.sent += len(batch.messages)
        return await super().send(batch)


def _indexed(folder: Path, entry: SegmentEntry) -> list[Reservation]:
    """What the index has of the entity's events in this segment."""
    columns = ["row", "event_id", "fingerprint", "event_time", "entity_id", "outcome"]
    wanted = [("entity_id", "=", ONE), ("outcome", "=", "ACCEPTED")]
    found = pq.read_table(folder / f"{entry.segment}.parquet", columns=columns, filters=wanted)
    micros = found.column("event_time").cast("int64").to_pylist()
    return [
        Reservation(
            row["event_id"], row["fingerprint"], entry.segment, row["row"], 1, ONE, Instant(event_time)
        )
        for row, event_time in zip(found.to_pylist(), micros, strict=True)
    ]


def sides(streams: Streams, name: str, url: str) -> dict[str, Callable[[], float]]:
    sinks: dict[str, Callable[[], Sink]] = {
        "dropped": Nothing,
        "over HTTP": lambda: HTTPSink(url, SystemClock(), loopback=True),
    }
    return {
        f"{name}, {how}, {size}": partial(streams.milliseconds, sink, many=size == "in a hundred times")
        for how, sink in sinks.items()
        for size in ("by itself", "in a hundred times")
    }


def figures(samples: Samples, names: Sequence[str]) -> list[Figure]:
    return [
        figure(
            WHAT,
            samples,
            f"{name}, {how}, in a hundred times",
            f"{name}, {how}, by itself",
            sense="≤",
            bound=1.2,
        )
        for name in names
        for how in ("dropped", "over HTTP")
    ]


def main() -> int:
    quick = "--quick" in sys.argv
    holding, rounds = (2, 7) if quick else (5, 15)
    with (
        tempfile.TemporaryDirectory(prefix="pik-bench-") as scratch,
        asyncio.Runner() as runner,
        receiving() as url,
    ):
        each: dict[str, Callable[[], float]] = {}
        for deduplication in Deduplication:
            streams = Streams(runner, Path(scratch) / deduplication, deduplication, holding)
            streams.check()
            each |= sides(streams, str(deduplication), url)
            if deduplication is Deduplication.ON_READ:
                each[FIRST] = partial(streams.first, Nothing)
        for warm in each.values():
            warm()
        samples = in_turns(each, rounds)
    found = figures(samples, [str(deduplication) for deduplication in Deduplication])
    found.append(figure(WHAT, samples, FIRST, "OnRead, dropped, in a hundred times", sense="≤"))
    return 0 if report("entity", "milliseconds", samples, found) else 1


if __name__ == "__main__":
    sys.exit(main())
