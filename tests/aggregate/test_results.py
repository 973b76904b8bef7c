"""Rows: exact, the same from any segments, order and number of threads, or an error that says why not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregate.questions import EVERYTHING, aggregates, answer, definition, inputs_hash, kept, rows
from pik.api.aggregate_version import TimeBucket
from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.errors import (
    UnreadableValue,
)
from pik.domain.instants import Instant, parse_instant
from pik.domain.layout import segment_id
from pik.domain.segments import SegmentHead
from pik.execution.aggregate.listing import list_inputs
from pik.execution.aggregate.selection import place, select
from pik.execution.aggregate.tables import from_parquet, result_rows, to_parquet
from pik.execution.parquet import ParquetCodec
from pik.execution.reading.relation import connect, open_arrivals, open_events
from pik.execution.stream import Deduplication
from pik.planning.aggregate_sql import query_of, within
from reading.streams import HOUR, START, after, arrival, world
from reading.streams import rows as as_rows

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 4 * 24 * 60 - 1),  # minutes, over a change of clocks
        st.sampled_from(["a", "b", None]),
        st.one_of(st.none(), st.decimals(-999, 999, places=2, allow_nan=False)),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.sampled_from([TimeBucket.HOUR, TimeBucket.DAY]))
async def test_rows_against_decimals(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[tuple[int, str | None, Decimal | None]],
    bucket: TimeBucket,
) -> None:
    made = await world(tmp_path_factory.mktemp("segments"))
    start, zone = parse_instant("2013-11-01T04:00:00Z"), ZoneInfo("America/New_York")
    arrivals, encoder = [], msgspec.json.Encoder(decimal_format="number")
    expected: dict[tuple[int, str | None], list[Decimal | None]] = {}
    for number, (minutes, kind, x) in enumerate(events):
        at = after(minutes * 60, start)
        payload = {"x": x, "kind": kind}
        arrivals.append(arrival(f"k{number}", at, encoder.encode(payload)))
        local = at.to_datetime().astimezone(zone)
        if bucket is TimeBucket.HOUR:
            first = at.micros // HOUR * HOUR
        else:
            first = Instant(round(local.replace(hour=0, minute=0).timestamp()) * 1_000_000).micros
        expected.setdefault((first, kind), []).append(x)
    await made.land(as_rows(arrivals), at=START)
    asked = definition(
        start, after(4 * 24 * 3600, start),
        ("n", "count(*)"), ("some", "count(payload.x)"), ("sum", "sum(payload.x)"),
        ("mean", "avg(payload.x)"),
        bucket=bucket, timezone="America/New_York", group_by=("payload.kind",),
    )  # fmt: skip
    found = await kept(made, await answer(made, asked))
    assert found.schema.names == ["bucket", "kind", "n", "some", "sum", "mean"]
    columns = [found["bucket"].cast("int64"), *found.columns[1:]]
    by_key = {row[:2]: row[2:] for row in zip(*(c.to_pylist() for c in columns), strict=True)}
    with localcontext(prec=60):
        assert by_key == {key: measures(xs) for key, xs in expected.items()}
    order = [(first, kind is not None, kind or "") for first, kind in by_key]
    assert order == sorted(order)


def measures(xs: list[Decimal | None]) -> tuple[Any, ...]:
    known = [x for x in xs if x is not None]
    if not known:
        return len(xs), 0, None, None
    mean = (sum(known, Decimal()) / len(known)).quantize(Decimal("1e-12"), ROUND_HALF_UP)
    return len(xs), len(known), sum(known), mean


def segment_files(folder: Path, pieces: Sequence[Sequence[Arrival]]) -> list[Path]:
    files = []
    for number, piece in enumerate(pieces):
        at = Instant(START.micros + number * 1000)
        identity = segment_id(at, f"{number:020x}", 1)
        file = folder / f"{identity}.parquet"
        events = [Row(row, a, Outcome.ACCEPTED) for row, a in enumerate(piece)]
        file.write_bytes(ParquetCodec().encode(SegmentHead("stream1", identity, at), events))
        files.append(file)
    return files


def test_neither_order_nor_segments_nor_threads_change_a_byte(tmp_path: Path) -> None:
    chosen = random.Random(3)
    arrivals = [
        arrival(f"k{n}", after(n * 60), f'{{"x": {chosen.uniform(-1e3, 1e3)!r}, "g": {n % 7}}}'.encode())
        for n in range(3000)
    ]
    query = query_of(
        definition(
            START, after(10**6), ("mean", "avg(payload.x)"), ("sum", "sum(payload.x)"),
            ("share", "sum(payload.x) / count(*)"), ("p90", "quantile_disc(payload.x, 0.9)"),
            ("middle", "median(payload.x)"), bucket=TimeBucket.HOUR, group_by=("payload.g",),
        )
    )  # fmt: skip
    found = set()
    for threads, size in ((1, 3000), (2, 700), (5, 100), (8, 1000), (3, 50), (16, 313)):
        chosen.shuffle(arrivals)
        folder = tmp_path / f"{threads}"
        folder.mkdir()
        files = segment_files(folder, [arrivals[i : i + size] for i in range(0, len(arrivals), size)])
        chosen.shuffle(files)
        with closing(connect()) as con:
            con.execute(f"SET threads = {threads}")
            segments = open_arrivals(con, files)
            open_events(con, Deduplication.ON_WRITE)
            select(con, query, within(query.definition.span), ())
            scales = place(con, query)
            body = to_parquet(result_rows(con, query, scales))
            listed = list_inputs(con, query, scales, (), segments, folder, part=700)
        tables = [from_parquet(file.read_bytes()) for file in listed.parts]
        assert places_of(tables) == arrivals_by_place(files)
        parts = [to_parquet(part.drop(["segment", "row", "ingest_time"])) for part in tables]
        found.add((listed.hash, listed.count, listed.first, body, tuple(parts)))
    assert len(found) == 1
    (digest, count, first, _, parts), = found  # fmt: skip
    assert (digest, count, len(parts)) == (inputs_hash(arrivals), 3000, 5)
    assert list(first) == sorted(a.event_id for a in arrivals)[:10]


def places_of(listed: Sequence[pa.Table]) -> set[tuple[str, int, str]]:
    """Where a list of inputs says that each event lies."""
    names = ["segment", "row", "event_id"]
    return {tuple(row.values()) for part in listed for row in part.select(names).to_pylist()}


def arrivals_by_place(files: Sequence[Path]) -> set[tuple[str, int, str]]:
    """The same, from the segments."""
    rows = {file.stem: from_parquet(file.read_bytes()) for file in files}
    return {
        (name, row["row"], row["event_id"])
        for name, table in rows.items()
        for row in table.select(["row", "event_id"]).to_pylist()
    }


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 40), min_size=1), st.integers(0, 40), st.randoms(use_true_random=False))
async def test_the_same_events_are_the_same_version_and_others_are_not(
    tmp_path_factory: pytest.TempPathFactory, chosen: set[int], other: int, order: random.Random
) -> None:
    async def version(numbers: set[int]) -> str:
        made = await world(tmp_path_factory.mktemp("segments"), order.choice(list(Deduplication)))
        event = Outcome.ACCEPTED if made.stream.deduplication is Deduplication.ON_WRITE else Outcome.RECORDED
        waiting = order.sample(sorted(numbers), len(numbers))
        while waiting:
            size = order.randint(1, len(waiting))
            piece = [arrival(f"k{n}", after(-n)) for n in waiting[:size]]
            await made.land(as_rows(piece, event), at=made.clock.now())
            made.clock.advance(order.choice([0, 1, 5000]))
            waiting = waiting[size:]
        return (await answer(made, EVERYTHING)).version

    assert await version(chosen) == await version(chosen)
    assert (await version(chosen) == await version(chosen ^ {other})) is False


async def test_segments_outside_of_the_window_are_not_read(tmp_path: Path) -> None:
    made = await world(tmp_path)
    far = await made.land(as_rows([arrival("far", after(-10 * 24 * 3600))]), at=START)
    await made.land(as_rows([arrival("near")]), at=START)
    del made.bucket.objects[far.key]
    made.bucket.objects[far.key] = made.bucket.objects[(await made.land([], at=after(-1))).key]
    assert (await answer(made, definition(START, after(10)))).record.input_count == 1


async def test_a_value_that_cannot_be_read_is_named_and_nothing_is_kept(tmp_path: Path) -> None:
    made = await world(tmp_path)
    secret, fine = arrival("odd", data=b'{"x": "a secret"}'), arrival("fine", data=b'{"x": 5}')
    await made.land(as_rows([secret, fine, arrival("outside", after(5000), b'{"x": []}')]), at=START)
    for asked in (
        definition(START, after(10), ("x", "sum(payload.x)")),
        definition(START, after(10), where="payload.x > 1"),
        definition(START, after(10), group_by=("payload.x + 1",)),
    ):
        with pytest.raises(UnreadableValue) as raised:
            await answer(made, asked)
        assert "payload.x is not a number, but a string (1 events, such as " + secret.event_id in str(
            raised.value
        )
        assert "secret" not in str(raised.value).replace(secret.event_id, "")
    assert [key for key in aggregates(made) if not key.startswith("asked/")] == []
    tried = definition(START, after(10), ("x", "sum(TRY_CAST(payload.x AS DECIMAL(38, 2)))"))
    assert await rows(made, await answer(made, tried)) == [(Decimal(5),)]


async def test_numbers_that_outgrow_38_digits_are_an_error(tmp_path: Path) -> None:
    made = await world(tmp_path)
    large = [arrival(f"k{n}", data=b'{"x": 99999999999999999999999999999999999999}') for n in range(2)]
    await made.land(as_rows(large), at=START)
    for expression in ("sum(payload.x)", "sum(payload.x * payload.x)", "max(payload.x) + 1"):
        with pytest.raises(UnreadableValue, match="38 digits"):
            await answer(made, definition(START, after(1), ("x", expression)))
    found = await answer(made, definition(START, after(1), ("x", "max(payload.x)")))
    assert await rows(made, found) == [(Decimal(10**38 - 1),)]


async def test_numbers_have_the_places_that_the_events_need(tmp_path: Path) -> None:
    made = await world(tmp_path)
    whole = [arrival("a", data=b'{"x": 3}'), arrival("b", data=b'{"x": 4.0}')]
    await made.land(as_rows([*whole, arrival("c", after(50), b'{"x": 0.30000000000000004}')]), at=START)
    asked = ("sum", "sum(payload.x)"), ("mean", "avg(payload.x)"), ("n", "count(payload.x)")
    short, long = [
        await kept(made, await answer(made, definition(START, after(end), *asked))) for end in (9, 99)
    ]
    assert [str(field.type) for field in short.schema][1:] == [
        "decimal128(38, 0)",
        "decimal128(38, 12)",
        "int64",
    ]
    assert [str(field.type) for field in long.schema][1:] == [
        "decimal128(38, 17)",
        "decimal128(38, 17)",
        "int64",
    ]
    assert [column.to_pylist() for column in short.columns[1:]] == [[Decimal(7)], [Decimal("3.5")], [2]]
    assert long["sum"].to_pylist() == [Decimal("7.30000000000000004")]


async def test_columns_are_called_after_what_they_hold(tmp_path: Path) -> None:
    made = await world(tmp_path)
    await made.land(as_rows([arrival("a", data=b'{"kind": "x", "n": 1}')]), at=START)
    groups = (
        "payload.kind",
        "entity_id",
        "event_time",
        "payload.n > 0",
        'payload."no name"',
        "payload.deep.kind",
    )
    found = await kept(made, await answer(made, definition(START, after(1), group_by=groups)))
    names = ["bucket", "kind", "entity_id", "event_time", "n", "group_5", "group_6", "events"]
    assert found.schema.names == names
    assert str(found.schema.field("event_time").type) == "timestamp[us, tz=UTC]"


async def test_a_winner_that_is_another_arrival_matters_where_it_is_asked_for(tmp_path: Path) -> None:
    """The id and fingerprint do not say when an event was received; an answer that depends on it has a name
    that does."""
    versions = []
    for seconds in (1, 2):
        made = await world(tmp_path / str(seconds))
        await made.land(as_rows([arrival("a", received_time=after(seconds))]), at=START)
        plain = await answer(made, EVERYTHING)
        lag = ("lag", "max(received_time - event_time)")
        asked = await answer(made, definition(START, after(1), lag))
        assert await rows(made, asked) == [(Decimal(seconds),)]
        versions.append((plain.version, asked.version))
    assert versions[0][0] == versions[1][0]
    assert versions[0][1] != versions[1][1]


def test_what_the_fingerprint_leaves_open() -> None:
    asked = definition(START, after(1), ("x", "max(payload.sent.at)"), where="received_time IS NULL")
    assert query_of(asked).open_columns(()) == ()
    assert query_of(asked).open_columns(("other", "sent.by")) == ()
    for exclude in ("sent", "sent.at", "sent.at.year"):
        assert query_of(asked).open_columns(("other", exclude)) == ("payload_sha256",)


async def test_it_computes_within_a_limit_of_memory(tmp_path: Path) -> None:
    made = await world(tmp_path)
    await made.land(as_rows([arrival(f"k{n}", data=b'{"x": 1}') for n in range(2000)]), at=START)
    asked = definition(START, after(1), ("x", "sum(payload.x)"))
    limited = await answer(made, asked, memory="64MB")
    assert await rows(made, limited) == [(Decimal(2000),)]
