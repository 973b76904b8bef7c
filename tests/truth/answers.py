"""Everything that can be asked of a stream, to be asked twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pik.api.aggregate_version import KnownBy, TimeBucket
from pik.domain.arrivals import Outcome
from pik.domain.instants import Instant
from pik.domain.windows import Window
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.differences import python_rows, rows_of
from pik.execution.inspect.conflicts import ConflictOptions, conflicts
from pik.execution.inspect.duplicates import DuplicateOptions, duplicates
from pik.execution.inspect.gaps import GapOptions, gaps
from pik.execution.inspect.late import LateOptions, late
from pik.execution.inspect.order import OrderOptions, order
from pik.execution.inspect.skew import SkewOptions, skew
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.stream import Stream
from pik.planning.definitions import Definition, Measure, WindowText
from pik.ports.index import Reservation
from reading.streams import START, after
from truth.replaying import Target, planned, sent

WINDOW = Window(after(-3_600), after(7_200))
MINUTE = timedelta(minutes=1)


async def inspected(stream: Stream, as_of: Instant) -> dict[str, Any]:
    snapshot = await take_snapshot(stream, as_of, now=stream.clock.now())
    asked = {
        f"late by {known_by}": lambda window, known_by=known_by: late(
            stream, snapshot, window, LateOptions(MINUTE, known_by=known_by)
        )
        for known_by in KnownBy
    } | {
        "gaps": lambda window: gaps(stream, snapshot, window, GapOptions(MINUTE)),
        "duplicates": lambda window: duplicates(stream, snapshot, window, DuplicateOptions(storm=2)),
        "conflicts": lambda window: conflicts(stream, snapshot, window, ConflictOptions()),
        "order": lambda window: order(stream, snapshot, window, OrderOptions()),
        "skew": lambda window: skew(stream, snapshot, window, SkewOptions()),
    }
    found: dict[str, Any] = {"segments": snapshot.segments}
    for number, (name, ask) in enumerate(asked.items()):
        found[name] = await ask(WINDOW if number % 2 else None)
    return found


def definition(stream: Stream) -> Definition:
    return Definition(
        stream_id=stream.layout.stream_id,
        window=WindowText(WINDOW.start.text, WINDOW.end.text),
        timezone="UTC",
        bucket=TimeBucket.HOUR,
        group_by=("source",),
        measures=(Measure("events", "count(*)"), Measure("total", "sum(payload.value)")),
        where=None,
    )


async def aggregated(stream: Stream, as_of: Instant, known_by: KnownBy = KnownBy.INGEST_TIME) -> Any:
    """The version, when it was the answer, and its rows. Not when it was computed: that is another time."""
    answer = await compute(
        stream, definition(stream), namespace="tests", name="a", known_by=known_by, as_of=as_of
    )
    return answer.record, answer.as_of.as_of, list(python_rows(await rows_of(stream, answer)))


async def replayed(stream: Stream, as_of: Instant, key: str, shards: int) -> Any:
    """The plan's hash and what arrived, in order, with the keys by which a target tells repeats."""
    target = Target()
    plan = await planned(stream, key, as_of, shards=shards)
    count = await sent(stream, plan, key, target)
    assert count == len(target.arrived) == plan.measure.matched
    return plan.hash, plan.measure, target.arrived


async def everything(stream: Stream, as_of: Instant) -> dict[str, Any]:
    """Answers to all that is known at `as_of`. Asked twice of the same stream, the replays are found done."""
    return {
        **await inspected(stream, as_of),
        **{f"aggregate, {known}": await aggregated(stream, as_of, known) for known in KnownBy},
        **{f"replay, {shards}": await replayed(stream, as_of, f"r{shards}", shards) for shards in (1, 3)},
    }


async def entries_of_events(stream: Stream) -> list[Reservation]:
    """The index's entries that an ACCEPTED row bears out, whatever their generation, by event id."""
    held = set()
    async for info in stream.objects.list(stream.layout.raw):
        _, rows = stream.codec.decode((await stream.objects.read(info.key)).body)
        held |= {(info.key, row.row) for row in rows if row.outcome is Outcome.ACCEPTED}
    entries = [entry async for entry in stream.index.entries()]
    return sorted(
        (entry for entry in entries if (stream.layout.segment(entry.segment), entry.row) in held),
        key=lambda entry: entry.event_id,
    )


__all__ = ["START", "aggregated", "entries_of_events", "everything", "inspected", "planned", "replayed"]
