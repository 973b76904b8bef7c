"""The same question asked of both engines."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from aggregate.questions import aggregates, definition
from athena.service import DuckDBService
from pik.api.aggregate_version import KnownBy
from pik.domain.arrivals import Outcome
from pik.domain.instants import Instant
from pik.execution.aggregate.athena import Athena
from pik.execution.aggregate.athena_engine import AthenaEngine
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.records import Answer
from pik.execution.stream import Deduplication
from pik.planning.definitions import Definition
from pik.ports.queries import QueryService
from reading.streams import START, World, after, arrival, world
from reading.streams import rows as as_rows

ASKED = definition(
    START,
    after(1000),
    ("n", "count(*)"),
    ("mean", "avg(payload.x)"),
    group_by=("entity_id",),
    where="payload.x > 1",
)


async def small(folder: Path, deduplication: Deduplication = Deduplication.ON_WRITE) -> World:
    made = await world(folder, deduplication)
    outcome = Outcome.ACCEPTED if deduplication is Deduplication.ON_WRITE else Outcome.RECORDED
    for part in range(3):
        numbers = range(6)
        events = [
            arrival(f"k{part}/{n}", after(part * 10 + n), b'{"x": %d.5}' % n, entity_id=f"e{n % 2}")
            for n in numbers
        ]
        await made.land(as_rows(events, outcome), at=after(part))
    made.clock.advance(60)
    return made


def engine_of(service: QueryService, definition: Definition, memory: str | None) -> AthenaEngine:
    return AthenaEngine(definition, Athena(service), memory)


async def by_athena(
    made: World,
    asked: Definition,
    service: DuckDBService,
    name: str = "version",
    *,
    as_of: Instant | None = None,
    known_by: KnownBy = KnownBy.INGEST_TIME,
) -> Answer:
    return await compute(
        made.stream,
        asked,
        namespace="tests",
        name=name,
        known_by=known_by,
        as_of=as_of,
        engine_of=partial(engine_of, service),
    )


async def both(
    made: World,
    asked: Definition,
    folder: Path,
    *,
    as_of: Instant | None = None,
    known_by: KnownBy = KnownBy.INGEST_TIME,
) -> Answer:
    """By DuckDB; and by Athena, which came to the same, byte for byte."""
    service = DuckDBService(made.bucket, folder / "athena")
    found = await compute(made.stream, asked, namespace="tests", name="one", known_by=known_by, as_of=as_of)
    names = [key for key in aggregates(made) if key.startswith(found.version)]
    prefix = made.stream.layout.aggregates
    kept = {key: made.bucket.objects.pop(prefix + key).body for key in names}
    again = await by_athena(made, asked, service, "one", as_of=as_of, known_by=known_by)
    assert again == found
    assert {key: made.bucket.objects[prefix + key].body for key in names} == kept
    return found
