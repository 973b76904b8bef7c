"""Flights by DuckDB and by Athena, with repeats and conflicts: the same versions, and the same difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregate import flights
from aggregate.questions import definition
from athena.worlds import both
from pik.api.aggregate_version import KnownBy, TimeBucket
from pik.domain.arrivals import Outcome
from pik.domain.instants import parse_instant
from pik.execution.aggregate.comparing import compare
from pik.execution.stream import Deduplication
from reading.streams import START, World, after, arrival, world
from reading.streams import rows as as_rows

ON_READ, ON_WRITE = Deduplication.ON_READ, Deduplication.ON_WRITE


async def landed(made: World) -> None:
    """A flight in ten around the change of clocks, in pieces that come an hour apart, each with repeats of it
    and conflicts with it; and some that are late."""
    on_read = made.stream.deduplication is ON_READ
    arrivals = flights.arrivals(flights.table("2013-11-02", "2013-11-05"))[::10]
    late, rest = arrivals[::20], [each for n, each in enumerate(arrivals) if n % 20]
    for piece in [*flights.pieces(rest, 120), late]:
        made.clock.advance(3600)
        shown = Outcome.RECORDED if on_read else Outcome.ACCEPTED
        first = await made.land(as_rows(piece, shown), at=made.clock.now())
        others = [arrival(e.idempotency_key or "", e.event_time, b'{"dest": "X"}') for e in piece[20:30]]
        for again, outcome in ((piece[:20], Outcome.DUPLICATE), (others, Outcome.CONFLICT)):
            shown = Outcome.RECORDED if on_read else outcome
            await made.land(as_rows(again, shown, str(first.segment)), at=made.clock.now())
    made.clock.advance(3600)


@pytest.mark.parametrize(
    ("deduplication", "bucket", "timezone"),
    [
        (ON_WRITE, TimeBucket.MINUTE, "UTC"),
        (ON_READ, TimeBucket.HOUR, "Asia/Kathmandu"),
        (ON_WRITE, TimeBucket.DAY, "America/New_York"),
        (ON_READ, TimeBucket.WEEK, "America/New_York"),
        (ON_WRITE, TimeBucket.MONTH, "Australia/Lord_Howe"),
        (ON_READ, TimeBucket.WINDOW, "UTC"),
    ],
)
async def test_flights_by_both(
    tmp_path: Path, deduplication: Deduplication, bucket: TimeBucket, timezone: str
) -> None:
    made = await world(tmp_path, deduplication)
    await landed(made)
    asked = definition(
        parse_instant("2013-11-02T07:00:00Z"),
        parse_instant("2013-11-04T19:30:00Z"),
        ("flights", "count(*)"),
        ("delay", "avg(payload.arr_delay)"),
        ("worst", "max(payload.arr_delay) FILTER (WHERE payload.origin <> 'LGA')"),
        ("distance", "sum(payload.distance) / count(DISTINCT payload.dest)"),
        bucket=bucket,
        timezone=timezone,
        group_by=("payload.carrier", "payload.air_time > 120"),
        where="payload.dest LIKE '_A%' OR payload.arr_delay IS NOT NULL",
    )
    after_all = await both(made, asked, tmp_path)
    before = await both(made, asked, tmp_path, as_of=after(2 * 3600 + 60))
    assert 0 < before.record.input_count < after_all.record.input_count
    difference = await compare(made.stream, before, after_all, None)
    assert difference.late == after_all.record.input_count - before.record.input_count
    if bucket is TimeBucket.WINDOW:
        known = {"as_of": parse_instant("2013-11-03T12:00:00Z"), "known_by": KnownBy.RECEIVED_TIME}
        source = await both(made, asked, tmp_path, **known)  # type: ignore[arg-type]
        assert 0 < source.record.input_count < after_all.record.input_count
    assert made.clock.now() > START
