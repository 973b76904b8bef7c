"""The slice that DuckDB selects is the one that the rules select, row by row, in Python."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pik.aws.system import ThreadOffload
from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.errors import Incomplete, InvalidExpression, Tampered
from pik.domain.identity import shard_of
from pik.domain.instants import Instant
from pik.domain.segments import SegmentEntry
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.run import run_replay
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication
from pik.memory.sink import MemorySink, MemoryTarget
from pik.memory.system import InlineOffload
from pik.planning.replay.plan import Measure, ReplayPlan
from pik.planning.replay.spec import ReplaySpec
from pik.ports.index import Reservation
from pik.ports.objects import StoredObject
from pik.ports.selection import Selector
from reading.streams import START, World, after, arrival, rows, world
from replay.slices import begin, spec, tools
from replay.slices import rows as sent_rows

KEYS = st.integers(0, 7)
ARRIVALS = st.builds(
    lambda key, minute, payload, entity, rest: arrival(
        f"k{key}",
        Instant(after(60 * minute).micros, rest),
        b'{"v": %d}' % payload,
        entity_id=f"e{entity}",
        source="sensors" if key % 3 else "others",
    ),
    KEYS,
    st.integers(-30, 90),
    st.integers(0, 1),
    st.integers(0, 2),
    st.sampled_from(["", "1", "5"]),
)
SEGMENTS = st.lists(st.lists(ARRIVALS, min_size=1, max_size=6), min_size=1, max_size=5)
SELECTS = st.fixed_dictionaries(
    {},
    optional={
        "entities": st.sampled_from([["e0"], ["e1", "e2"]]),
        "sources": st.just(["sensors"]),
        "limit": st.integers(1, 6),
        "duplicates": st.sampled_from(["First", "All"]),
        "field": st.sampled_from(["EventTime", "IngestTime"]),
    },
)


def condition(text: str) -> str:
    return text


async def stored(
    directory: Path, deduplication: Deduplication, segments: list[list[Arrival]]
) -> tuple[World, list[tuple[Instant, str, Row]]]:
    """A stream with these arrivals, decided as capture does; and its rows as (ingest time, segment, row)."""
    made = await world(directory, deduplication)
    winners: dict[str, tuple[str, Arrival]] = {}
    kept: list[tuple[Instant, str, Row]] = []
    for number, arrivals in enumerate(segments):
        at = after(600 * number)
        decided: list[Row] = []
        for place, each in enumerate(arrivals):
            outcome = Outcome.RECORDED
            if deduplication is Deduplication.ON_WRITE:
                first = winners.setdefault(each.event_id, ("", each))
                same = first[1].fingerprint == each.fingerprint
                outcome = Outcome.DUPLICATE if same else Outcome.CONFLICT
                if first[1] is each:
                    outcome = Outcome.ACCEPTED
            decided.append(Row(place, each, outcome))
        made.clock.advance(max(0, (at.micros - made.clock.now().micros) / 1_000_000))
        entry = await made.land(decided, at=at)
        await made.stream.index.reserve(
            [
                Reservation(a.event_id, a.fingerprint, entry.segment, row.row, 1, a.entity_id, a.event_time)
                for row in decided
                if row.outcome is Outcome.ACCEPTED
                for a in [row.arrival]
            ]
        )
        kept += [(at, str(entry.segment), row) for row in decided]
    made.clock.advance(3_600)
    return made, kept


def expected(
    kept: list[tuple[Instant, str, Row]], what: ReplaySpec, on_read: bool
) -> tuple[list[tuple[str, int]], set[str], Measure]:
    """The slice's places in order, its stale entities and what is counted of it, by the rules alone."""
    firsts: dict[str, tuple[Instant, str, Row]] = {}
    for each in sorted(kept, key=lambda k: (k[0], k[1], k[2].row)):
        if on_read or each[2].outcome is Outcome.ACCEPTED:
            firsts.setdefault(each[2].arrival.event_id, each)

    def moment(each: tuple[Instant, str, Row]) -> tuple[Any, ...]:
        return (each[2].arrival.event_time, each[0], each[2].arrival.event_id)

    def wanted(each: tuple[Instant, str, Row]) -> bool:
        a = each[2].arrival
        time = a.event_time if what.time_field == "EventTime" else each[0]
        return (
            time in what.window
            and (what.entities is None or a.entity_id in what.entities)
            and (what.sources is None or a.source in what.sources)
        )

    def repeats(each: tuple[Instant, str, Row]) -> bool:
        if not on_read:
            return each[2].outcome is Outcome.DUPLICATE
        first = firsts[each[2].arrival.event_id]
        return first is not each and first[2].arrival.fingerprint == each[2].arrival.fingerprint

    chosen = [e for e in kept if wanted(e) and firsts.get(e[2].arrival.event_id) is e]
    if what.duplicates == "All":
        chosen += [e for e in kept if wanted(e) and repeats(e)]
    chosen.sort(key=lambda e: (*moment(e), e[0], e[1], e[2].row))
    chosen = chosen[: what.limit]
    newest: dict[str, tuple[Any, ...]] = {}
    for each in chosen:
        entity = each[2].arrival.entity_id
        newest[entity] = max(newest.get(entity, moment(each)), moment(each))
    stale = {
        e[2].arrival.entity_id
        for e in firsts.values()
        if e[2].arrival.entity_id in newest and moment(e) > newest[e[2].arrival.entity_id]
    }
    sizes = [len(row.arrival.data) for _, _, row in chosen]
    times = [row.arrival.event_time.text for _, _, row in chosen]
    ids = {row.arrival.event_id for _, _, row in chosen}
    counted = Measure(
        matched=len(chosen),
        bytes=sum(sizes),
        first_event_time=min(times, default=None),
        last_event_time=max(times, default=None),
        repeats=sum(wanted(e) and repeats(e) and e[2].arrival.event_id in ids for e in kept),
        stale=len(stale),
        largest=max(sizes, default=0),
    )
    return [(segment, row.row) for _, segment, row in chosen], stale, counted


async def selected(made: World, what: ReplaySpec) -> list[list[tuple[str, int]]]:
    """Each shard's places in order."""
    selector = DuckDBSelector(made.stream, condition)
    plan = await begin(made.stream, selector, what)
    shards = []
    for shard in range(what.shards):
        shards.append(await places_of(selector, plan, shard))
    assert plan.measure.matched == sum(map(len, shards))
    async with selector.together(plan) as together:
        assert shards == list(
            await asyncio.gather(*(places_of(together, plan, shard) for shard in range(what.shards)))
        )
        assert shards[-1][1:] == await places_of(together, plan, what.shards - 1, start=1)
    return shards


async def places_of(
    selector: Selector, plan: ReplayPlan, shard: int, start: int = 0
) -> list[tuple[str, int]]:
    pieces = [piece async for piece in selector.read(plan, shard, start)]
    return [(event.segment, event.row) for piece in pieces for event in sent_rows(piece)]


@pytest.mark.parametrize("deduplication", Deduplication)
@settings(max_examples=40, deadline=None)
@given(segments=SEGMENTS, select=SELECTS, shards=st.integers(1, 3))
def test_the_slice_is_what_the_rules_say(
    deduplication: Deduplication, segments: list[list[Arrival]], select: dict[str, Any], shards: int
) -> None:
    field = select.pop("field", "EventTime")
    window = {"from": START.text, "to": after(3_600).text, "field": field}
    what = spec(select={**select, "window": window}, shards=shards)

    async def check() -> None:
        with TemporaryDirectory() as directory:
            made, kept = await stored(Path(directory), deduplication, segments)
            on_read = deduplication is Deduplication.ON_READ
            places, stale, counted = expected(kept, what, on_read)
            entities = {(s, r.row): r.arrival.entity_id for _, s, r in kept}
            found = await selected(made, what)
            for shard, mine in enumerate(found):
                assert mine == [p for p in places if shard_of(entities[p], shards) == shard]
            selector = DuckDBSelector(made.stream, condition)
            snapshot = await take_snapshot(made.stream, now=made.clock.now())
            measured = await selector.measure(what, snapshot.segments)
            assert set(measured.stale_entities) == stale
            if what.duplicates == "All" or (what.entities is not None and not on_read):  # not counted
                counted = msgspec.structs.replace(counted, repeats=None)
            assert measured.measure == counted

    asyncio.run(check())


@pytest.mark.parametrize("field", ["EventTime", "IngestTime"])
async def test_an_earlier_arrival_anywhere_decides_what_the_event_is(tmp_path: Path, field: str) -> None:
    """On reading, the first arrival counts wherever it lies: here outside the window, in its own segment."""
    first, conflict = arrival("k", after(-60)), arrival("k", after(60), b'{"changed": true}')
    segments = [[first], [conflict, arrival("other", after(61))]]
    made, _ = await stored(tmp_path, Deduplication.ON_READ, segments)
    start = after(0).text if field == "EventTime" else after(600).text
    what = spec(select={"window": {"field": field, "from": start, "to": after(3_600).text}})
    selector = DuckDBSelector(made.stream, condition)
    plan = await begin(made.stream, selector, what)
    sent = [event.entity_id async for piece in selector.read(plan, 0, 0) for event in sent_rows(piece)]
    assert len(sent) == plan.measure.matched == 1
    assert len(plan.reads) == 2


async def test_an_entitys_events_are_found_by_the_index_and_not_everywhere(
    tmp_path: Path,
) -> None:
    segments = [[arrival(f"k{n}", after(n), entity_id=f"e{n % 10}")] for n in range(40)]
    made, kept = await stored(tmp_path, Deduplication.ON_WRITE, segments)
    fetched: list[str] = []
    files = made.stream.files

    class Watched:
        directory = None

        async def fetch(self, entries: Sequence[SegmentEntry]) -> list[Path]:
            fetched.extend(str(entry.segment) for entry in entries)
            return await files.fetch(entries)

    stream = replace(made.stream, files=Watched())
    made.clock.advance(10 * 3_600)
    plan = await begin(stream, DuckDBSelector(stream, condition), spec(select={"entities": ["e3"]}))
    own = {segment for _, segment, row in kept if row.arrival.entity_id == "e3"}
    assert plan.measure.matched == 4
    assert {str(entry.segment) for entry in plan.reads} == own
    assert set(fetched) == own


async def test_the_recent_tail_is_read_without_the_index(tmp_path: Path) -> None:
    made = await world(tmp_path)
    await made.land(
        rows([arrival("k", after(1), entity_id="e1")]), at=START
    )  # and not in the index by entity
    made.clock.advance(5)
    what = spec(select={"entities": ["e1"]})
    plan = await begin(made.stream, DuckDBSelector(made.stream, condition), what)
    assert plan.measure.matched == 1


async def test_a_position_is_the_same_event_from_wherever_it_is_read(tmp_path: Path) -> None:
    segments = [[arrival(f"k{n}-{m}", after(n), entity_id=f"e{m}") for m in range(5)] for n in range(6)]
    made, _ = await stored(tmp_path, Deduplication.ON_WRITE, segments)
    selector = DuckDBSelector(made.stream, condition)
    plan = await begin(made.stream, selector, spec(shards=2))

    async def ids(start: int) -> list[str]:
        return [e.event_id async for piece in selector.read(plan, 1, start) for e in sent_rows(piece)]

    whole = await ids(0)
    assert 0 < len(whole) < 30
    for start in range(len(whole) + 1):
        assert await ids(start) == whole[start:]


async def test_what_is_sent_is_what_was_captured(tmp_path: Path) -> None:
    data = '{"a": 1.00, "b": "\\u00e9é",\t"c": 12345678901234567890}'.encode()
    made, _ = await stored(tmp_path, Deduplication.ON_WRITE, [[arrival("k", after(1), data)]])
    selector = DuckDBSelector(made.stream, condition)
    plan = await begin(made.stream, selector, spec())
    [[found]] = [sent_rows(piece) async for piece in selector.read(plan, 0, 0)]
    assert (found.data, found.idempotency_key, found.entity_id) == (data, "k", "e1")
    assert plan.measure.bytes == len(data)


async def test_a_condition_that_fails_on_the_data_says_so_without_quoting_it(tmp_path: Path) -> None:
    made, _ = await stored(tmp_path, Deduplication.ON_WRITE, [[arrival("k", after(1), b'"secret"')]])
    selector = DuckDBSelector(made.stream, condition)
    with pytest.raises(InvalidExpression, match="cannot be evaluated") as refused:
        await begin(made.stream, selector, spec(select={"where": "data::INTEGER = 1"}))
    assert "secret" not in str(refused.value)


async def test_changed_and_missing_raw_is_noticed_before_it_is_sent(tmp_path: Path) -> None:
    made, _ = await stored(tmp_path / "a", Deduplication.ON_WRITE, [[arrival("k", after(1))]])
    plan = await begin(made.stream, DuckDBSelector(made.stream, condition), spec())
    key = plan.reads[0].key
    (tmp_path / "a" / f"{plan.reads[0].segment}.parquet").unlink()
    stored_object = made.bucket.objects[key]
    made.bucket.objects[key] = StoredObject(b"x" + stored_object.body[1:], "", stored_object.last_modified)
    fresh = replace(made.stream, files=SegmentCache(made.stream.objects, tmp_path / "b", InlineOffload()))
    with pytest.raises(Tampered, match=key):
        await anext(DuckDBSelector(fresh, condition).read(plan, 0, 0))
    del made.bucket.objects[key]
    with pytest.raises(Incomplete, match=key):
        await anext(DuckDBSelector(fresh, condition).read(plan, 0, 0))


async def test_a_slice_that_shards_share_can_be_asked_for_again(tmp_path: Path) -> None:
    """What one shard met, the next one meets as well, and nothing else; and once it is over, all is there."""
    made, _ = await stored(tmp_path / "a", Deduplication.ON_WRITE, [[arrival("k", after(1))]])
    plan = await begin(made.stream, DuckDBSelector(made.stream, condition), spec(shards=2))
    fresh = replace(made.stream, files=SegmentCache(made.stream.objects, tmp_path / "b", InlineOffload()))
    away = made.bucket.objects.pop(plan.reads[0].key)
    async with DuckDBSelector(fresh, condition).together(plan) as together:
        for shard in (0, 1, 1):
            with pytest.raises(Incomplete, match=plan.reads[0].key):
                await places_of(together, plan, shard)
        made.bucket.objects[plan.reads[0].key] = away
        assert len(await places_of(together, plan, 0) + await places_of(together, plan, 1)) == 1
    large = msgspec.structs.replace(plan, measure=msgspec.structs.replace(plan.measure, bytes=2**31))
    selector = DuckDBSelector(fresh, condition)
    async with selector.together(large) as each_by_itself:
        assert each_by_itself is selector
    refused = msgspec.structs.replace(
        plan, spec=msgspec.structs.replace(plan.spec, where="data::INTEGER = 1")
    )
    async with DuckDBSelector(fresh, condition).together(refused) as together:
        for shard in (0, 1, 1):
            with pytest.raises(InvalidExpression, match="cannot be evaluated"):
                await places_of(together, refused, shard)


async def test_a_reading_that_is_cancelled_leaves_no_query_behind(tmp_path: Path) -> None:
    made, _ = await stored(tmp_path, Deduplication.ON_WRITE, [[arrival("k", after(1))]])
    pool = ThreadOffload(1)
    begun = asyncio.Event()

    async def offload(work: Any, *args: Any, **kwargs: Any) -> Any:
        begun.set()
        return await pool(work, *args, **kwargs)

    stream = replace(made.stream, offload=offload)
    endless = "(SELECT sum(hash(a.i, b.i)) FROM range(1000000) a(i), range(1000000) b(i)) > 0"
    plan = await begin(made.stream, DuckDBSelector(made.stream, condition), spec())
    slow = msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, where=endless))
    reading = asyncio.ensure_future(anext(DuckDBSelector(stream, condition).read(slow, 0, 0)))
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await pool(lambda: "free") == "free"
    pool.close()


@pytest.mark.parametrize("deduplication", Deduplication)
@pytest.mark.parametrize("shards", [1, 2])
async def test_kept_headers_come_with_the_messages_of_those_who_ask(
    tmp_path: Path, deduplication: Deduplication, shards: int
) -> None:
    made = await world(tmp_path, deduplication)
    kept = '{"traceparent":"00-1"}'
    old = [arrival(f"k{n}", after(n), entity_id=f"e{n}") for n in range(4)]
    new = [
        msgspec.structs.replace(arrival(f"n{n}", after(n), entity_id=f"e{n}"), headers=kept) for n in range(3)
    ]
    events = Outcome.ACCEPTED if deduplication is Deduplication.ON_WRITE else Outcome.RECORDED
    for number, each in enumerate((old, new)):
        await made.land(rows(each, events), at=after(-60 + number))
    selector = DuckDBSelector(made.stream, condition)
    for asked in (["traceparent"], None):
        http = {"url": "https://example.test/hook", **({"headers": asked} if asked else {})}
        fields = {"target": {"type": "HTTP", "http": http}, "shards": shards}
        plan = await begin(made.stream, selector, spec(**fields), key=str(asked))
        target = MemoryTarget()
        used = tools(made.stream, selector, MemorySink(target))
        assert await run_replay(made.stream, plan.run_id, used, shards) is not None
        got = {message.event_id: message.headers for _, message in target.received}
        assert got == {each.event_id: each.headers if asked else None for each in (*old, *new)}
