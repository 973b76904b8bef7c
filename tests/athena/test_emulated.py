"""Athena's SQL run by the emulator, over segments in its S3, by a table in its Glue."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from aggregate import flights
from aggregate.questions import answer
from athena.conftest import Emulated
from athena.worlds import engine_of
from pik.api.aggregate_version import TimeBucket
from pik.domain.arrivals import Outcome
from pik.domain.errors import NoSuchObject, Unusable
from pik.domain.instants import parse_instant
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.queries import find_summary
from pik.execution.aggregate.records import Answer
from pik.execution.stream import Deduplication
from pik.planning.definitions import Definition
from pik.planning.trino.tables import DATABASE, wanted_table
from pik.ports.catalog import TableChange
from pik.ports.queries import QueryState, QueryStatus
from reading.streams import arrival
from reading.streams import rows as as_rows


async def by_athena(there: Emulated, asked: Definition) -> Answer:
    return await compute(
        there.world.stream,
        asked,
        namespace="tests",
        name="version",
        engine_of=partial(engine_of, there.queries),
    )


@pytest.mark.parametrize("emulated", Deduplication, indirect=True)
async def test_flights(emulated: Emulated) -> None:
    """More inputs than a page of results has rows; what DuckDB gives is what is kept already, byte for byte,
    or it would be refused."""
    made, stream = emulated.world, emulated.world.stream
    on_read = stream.deduplication is Deduplication.ON_READ
    arrivals = flights.arrivals(flights.table("2013-11-02", "2013-11-05"))[:1300]
    for piece in flights.pieces(arrivals, 450):
        made.clock.advance(3000)
        shown = Outcome.RECORDED if on_read else Outcome.ACCEPTED
        landed = await made.land(as_rows(piece, shown), at=made.clock.now())
        others = [arrival(e.idempotency_key or "", e.event_time, b'{"dest": "X"}') for e in piece[:30]]
        for again, outcome in ((piece[:40], Outcome.DUPLICATE), (others, Outcome.CONFLICT)):
            shown = Outcome.RECORDED if on_read else outcome
            await made.land(as_rows(again, shown, str(landed.segment)), at=made.clock.now())
    made.clock.advance(3600)
    asked = emulated.asking(
        parse_instant("2013-11-02T00:00:00Z"),
        parse_instant("2013-11-05T00:00:00Z"),
        ("flights", "count(*)"),
        ("delay", "avg(payload.arr_delay)"),
        ("distance", "sum(payload.distance) / count(DISTINCT payload.dest)"),
        bucket=TimeBucket.DAY,
        timezone="America/New_York",
        group_by=("payload.carrier", "payload.air_time > 120", "payload.dest || ' é \"'"),
        where="payload.dest LIKE '_A%' OR payload.arr_delay IS NOT NULL",
    )
    await emulated.ensure()
    found = await by_athena(emulated, asked)
    assert found.record.input_count > 1001
    assert await answer(made, asked) == found
    summary = await find_summary(stream, asked.hash, found.as_of)
    assert summary is not None
    assert len(summary.query_ids) == 5
    assert summary.bytes_scanned > 0


async def test_the_table_is_made_once_and_set_right(emulated: Emulated) -> None:
    wanted = wanted_table(emulated.bucket, emulated.world.stream.layout)
    place = {"database": DATABASE, "name": emulated.table, "wanted": wanted}
    assert await emulated.catalog.ensure(**place) == TableChange(created=True)
    assert await emulated.catalog.ensure(**place) == TableChange()
    table = emulated.glue.get_table(DatabaseName=DATABASE, Name=emulated.table)["Table"]
    changed = {key: table[key] for key in ("Name", "PartitionKeys", "StorageDescriptor", "Parameters")}
    changed["StorageDescriptor"]["Location"] = "s3://elsewhere/"
    changed["StorageDescriptor"]["Columns"] = changed["StorageDescriptor"]["Columns"][:-1]
    changed["Parameters"]["projection.enabled"] = "false"
    changed["Parameters"]["somebody"] = "else's"
    emulated.glue.update_table(DatabaseName=DATABASE, TableInput=changed)
    repaired = await emulated.catalog.ensure(**place)
    assert repaired.repaired == ("location", "columns", "parameters.projection.enabled")
    assert await emulated.catalog.ensure(**place) == TableChange()
    table = emulated.glue.get_table(DatabaseName=DATABASE, Name=emulated.table)["Table"]
    assert table["Parameters"]["somebody"] == "else's"
    stream_id = emulated.world.stream.layout.stream_id
    await emulated.catalog.drop(DATABASE, emulated.table, "another stream")
    emulated.glue.get_table(DatabaseName=DATABASE, Name=emulated.table)
    await emulated.catalog.drop(DATABASE, emulated.table, stream_id)
    await emulated.catalog.drop(DATABASE, emulated.table, stream_id)
    with pytest.raises(emulated.glue.exceptions.EntityNotFoundException):
        emulated.glue.get_table(DatabaseName=DATABASE, Name=emulated.table)


async def test_somebody_elses_table_is_left(emulated: Emulated) -> None:
    await emulated.ensure()
    emulated.glue.update_table(DatabaseName=DATABASE, TableInput={"Name": emulated.table, "Parameters": {}})
    with pytest.raises(Unusable, match="not this stream's"):
        await emulated.ensure()


async def test_how_a_query_ends(emulated: Emulated, tmp_path: Path) -> None:
    """It fails, and says why; it is stopped; it is unknown; its rows are all there, NULL as nothing."""
    queries, file = emulated.queries, tmp_path / "rows.csv"
    failing = await queries.start("SELECT nothing FROM nowhere", "a" * 64)
    status = await ended(emulated, failing)
    assert status.state is QueryState.FAILED
    assert "nowhere" in status.reason
    with pytest.raises(NoSuchObject):
        await queries.fetch(failing, file)
    with pytest.raises(NoSuchObject):
        await queries.status("00000000-0000-0000-0000-000000000000")
    many = await queries.start(
        "SELECT i, CASE WHEN i = 7 THEN NULL ELSE 'x' END AS n FROM range(2500) r(i)", "b" * 64
    )
    assert (await ended(emulated, many)).state is QueryState.SUCCEEDED
    await queries.fetch(many, file)
    lines = file.read_text().splitlines()
    assert (len(lines), lines[0], lines[8]) == (2501, "i,n", "7,")
    await queries.stop(many)
    assert (
        emulated.athena.get_query_execution(QueryExecutionId=many)["QueryExecution"]["WorkGroup"] == "primary"
    )


async def ended(emulated: Emulated, query_id: str) -> QueryStatus:
    status = await emulated.queries.status(query_id)
    while not status.state.is_final:
        status = await emulated.queries.status(query_id)
    return status
