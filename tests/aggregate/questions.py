"""Definitions and answers, shortly."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pyarrow as pa

from pik.api.aggregate_version import KnownBy, TimeBucket
from pik.domain.arrivals import Arrival
from pik.domain.instants import Instant
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.differences import python_rows, rows_of
from pik.execution.aggregate.records import Answer
from pik.planning.definitions import Definition, Measure, WindowText
from reading.streams import World


def definition(
    start: Instant,
    end: Instant,
    *measures: tuple[str, str],
    bucket: TimeBucket = TimeBucket.WINDOW,
    timezone: str = "UTC",
    group_by: tuple[str, ...] = (),
    where: str | None = None,
) -> Definition:
    named = measures or (("events", "count(*)"),)
    return Definition(
        stream_id="stream1",
        window=WindowText(start.text, end.text),
        timezone=timezone,
        bucket=bucket,
        group_by=group_by,
        measures=tuple(Measure(name, expression) for name, expression in named),
        where=where,
    )


async def answer(
    world: World,
    asked: Definition,
    name: str = "version",
    *,
    as_of: Instant | None = None,
    known_by: KnownBy = KnownBy.INGEST_TIME,
    memory: str | None = None,
) -> Answer:
    return await compute(
        world.stream, asked, namespace="tests", name=name, known_by=known_by, as_of=as_of, memory=memory
    )


async def kept(world: World, found: Answer) -> pa.Table:
    return await rows_of(world.stream, found)


async def rows(world: World, found: Answer) -> list[tuple[Any, ...]]:
    """The kept rows, without the bucket."""
    return [row[1:] for row in python_rows(await kept(world, found))]


EVERYTHING = definition(Instant(0), Instant(4_000_000_000_000_000))


def inputs_hash(arrivals: Sequence[Arrival]) -> str:
    """As the design defines it, said independently."""
    lines = sorted(f"{a.event_id} {a.fingerprint}\n" for a in arrivals)
    return sha256("".join(lines).encode()).hexdigest()


def aggregates(made: World) -> list[str]:
    """The keys of what is kept of aggregates."""
    prefix = made.stream.layout.aggregates
    return sorted(key.removeprefix(prefix) for key in made.bucket.objects if key.startswith(prefix))
