"""Athena's engine: which rows count, what a restart finds, and how queries fail."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aggregate.questions import answer, definition, rows
from athena.service import DuckDBService
from athena.worlds import ASKED, both, by_athena, small
from pik.api.aggregate_version import KnownBy
from pik.domain.arrivals import Outcome
from pik.domain.errors import (
    Denied,
    Incomplete,
    PikError,
    QueryFailed,
    Unavailable,
    UnreadableValue,
)
from pik.execution.aggregate.athena import Athena
from pik.execution.aggregate.athena_engine import AthenaEngine
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.queries import QuerySummary, find_summary
from pik.execution.stream import Deduplication
from pik.ports.queries import QueryState, QueryStatus
from reading.streams import START, after, arrival, world
from reading.streams import rows as as_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "athena"


# which rows count


async def test_segments_that_do_not_count_are_left_out(tmp_path: Path, folder: Path) -> None:
    """An orphan of a dead generation, with the very stamp of a segment that counts; a void; and one that
    landed after the snapshot was pinned, stamped before it."""
    made = await small(tmp_path)
    await made.land(
        as_rows([arrival("orphan", after(5), b'{"x": 9}')]), at=after(1), generation=0, indexed=False
    )
    await made.land([], at=after(1))
    before = await both(made, ASKED, tmp_path)
    made.clock.advance(3600)
    await made.land(as_rows([arrival("tardy", after(6), b'{"x": 9}')]), at=after(2))
    again = await both(made, ASKED, tmp_path)
    assert again == before
    assert again.record.input_count == 15
    service = DuckDBService(made.bucket, folder)
    await by_athena(made, ASKED, service)
    assert "NOT IN" in service.texts["query-1"]


async def test_the_first_arrival_is_decided_by_the_segment_where_stamps_are_the_same(tmp_path: Path) -> None:
    made = await world(tmp_path, Deduplication.ON_READ)
    for n in range(4):  # in one of them it is the first row; that is of no account
        same = [arrival("k", after(n), b'{"x": %d}' % n), arrival(f"other {n}", after(2000))]
        await made.land(as_rows(same if n == 2 else same[::-1], Outcome.RECORDED), at=after(1))
    made.clock.advance(60)
    asked = definition(START, after(1000), ("x", "max(payload.x)"))
    found = await both(made, asked, tmp_path)
    assert found.record.input_count == 1


@pytest.mark.parametrize("deduplication", Deduplication)
async def test_as_sources_knew_it(tmp_path: Path, deduplication: Deduplication) -> None:
    made = await world(tmp_path, deduplication)
    outcome = Outcome.ACCEPTED if deduplication is Deduplication.ON_WRITE else Outcome.RECORDED
    events = [
        arrival(f"k{n}", after(n), b'{"x": 5}', received_time=after(10 * n) if n % 3 else None)
        for n in range(9)
    ]
    await made.land(as_rows(events, outcome), at=after(30))
    made.clock.advance(100)
    asked = definition(START, after(1000), ("first", "min(received_time)"), group_by=("event_time_text",))
    found = await both(made, asked, tmp_path, as_of=after(50), known_by=KnownBy.RECEIVED_TIME)
    assert found.record.input_count == 7


async def test_no_segments_need_no_query(tmp_path: Path, folder: Path) -> None:
    made = await world(tmp_path)
    service = DuckDBService(made.bucket, folder)
    found = await by_athena(made, ASKED, service)
    assert (found.record.input_count, found.record.row_count, service.texts) == (0, 0, {})
    assert found.record == (await answer(made, ASKED)).record


async def test_rows_that_athena_does_not_see_are_no_answer(tmp_path: Path, folder: Path) -> None:
    made = await small(tmp_path)
    service = DuckDBService(made.bucket, folder)
    service.hidden = 1
    with pytest.raises(Incomplete, match=r"does not see the rows of 1 segments that count .*: 0 of 6"):
        await by_athena(made, ASKED, service)
    service.hidden = 0
    assert (await by_athena(made, ASKED, service)).record == (await answer(made, ASKED)).record


async def test_a_segment_that_lands_between_the_queries_makes_another_round(
    tmp_path: Path, folder: Path
) -> None:
    made = await small(tmp_path)
    service = DuckDBService(made.bucket, folder)
    left = 1

    def lands(sql: str) -> None:
        nonlocal left
        if "group_0" in sql and left:
            left -= 1
            strange = arrival(f"strange {left}", after(5), b'{"x": 9}')
            made.put(as_rows([strange]), at=after(1), generation=0)

    service.before = lands
    found = await by_athena(made, ASKED, service)
    assert len(service.texts) == 10
    assert found.record == (await answer(made, ASKED)).record
    left = 99
    made.clock.advance(5)
    with pytest.raises(Incomplete, match="kept landing"):
        await by_athena(made, ASKED, service, "other", as_of=made.clock.now())
    left, asked = 0, len(service.tokens)
    found = await by_athena(made, ASKED, service, "other", as_of=made.clock.now())
    assert len(service.tokens) == asked + 5  # what is void is not looked at again
    assert found.record == (await answer(made, ASKED)).record


# restarts


async def test_whoever_goes_on_finds_the_queries_again(tmp_path: Path, folder: Path) -> None:
    made = await small(tmp_path)
    service = DuckDBService(made.bucket, folder, looks=10**9)
    first = asyncio.create_task(by_athena(made, ASKED, service))
    await service.started.wait()
    first.cancel()  # as when the process is told to end
    with pytest.raises(asyncio.CancelledError):
        await first
    assert service.stopped == []
    service.looks = 1
    service.finish()
    found = await by_athena(made, ASKED, service)
    assert len(service.texts) == 5
    assert len(set(service.tokens.values())) == 5
    assert [(group, count, str(mean)) for group, count, mean in await rows(made, found)] == [
        ("e0", 6, "3.500000000000"),
        ("e1", 9, "3.500000000000"),
    ]
    again = await by_athena(made, ASKED, service)
    assert again == found
    assert len(service.texts) == 5
    summary = await find_summary(made.stream, ASKED.hash, found.as_of)
    scanned = sum(len(sql) for sql in service.texts.values())
    assert summary == QuerySummary(tuple(service.texts), scanned)


async def test_results_that_are_gone_are_asked_for_again(tmp_path: Path, folder: Path) -> None:
    made = await small(tmp_path)
    service = DuckDBService(made.bucket, folder)
    found = await by_athena(made, ASKED, service)
    service.gone = {"query-2"}
    assert await by_athena(made, ASKED, service) == found
    assert len(service.texts) == 6
    service.gone = set()
    service.forget("query-0")
    assert await by_athena(made, ASKED, service) == found
    assert len(service.tokens) == 7


async def test_what_nobody_wants_any_more_is_stopped_for_good(tmp_path: Path, folder: Path) -> None:
    """Also where the service overwrites that with a success afterwards."""
    made = await small(tmp_path)
    service = DuckDBService(made.bucket, folder, looks=10**9)
    athena = Athena(service, halted=lambda: True)
    task = asyncio.create_task(
        compute(
            made.stream,
            ASKED,
            namespace="tests",
            name="version",
            engine_of=lambda definition, memory: AthenaEngine(definition, athena, memory),
        )
    )
    await service.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.stopped == ["query-0"]
    service.looks = 1
    found = await by_athena(made, ASKED, service)
    assert list(service.texts) == [f"query-{n}" for n in range(6)]
    assert found.record == (await answer(made, ASKED)).record


# failures


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (QueryStatus(QueryState.FAILED, "SYNTAX_ERROR: line 1"), QueryFailed, "failed: SYNTAX_ERROR"),
        (
            QueryStatus(QueryState.FAILED, "exhausted", may_succeed=True),
            Unavailable,
            "exhausted",
        ),
        (QueryStatus(QueryState.FAILED, "Insufficient permissions to execute"), Denied, "permissions"),
        (
            QueryStatus(QueryState.FAILED, "NUMERIC_VALUE_OUT_OF_RANGE: Decimal overflow"),
            UnreadableValue,
            "38",
        ),
        (QueryStatus(QueryState.CANCELLED), Unavailable, "cancelled by somebody else"),
    ],
)
async def test_a_query_that_fails_says_why(
    tmp_path: Path, folder: Path, status: QueryStatus, error: type[PikError], words: str
) -> None:
    made = await small(tmp_path)
    service = DuckDBService(made.bucket, folder)
    service.fail = {"leaf_0": status}
    with pytest.raises(error, match=words) as raised:
        await by_athena(made, ASKED, service)
    assert "query-3 (rows)" in str(raised.value)
    service.fail = {}
    found = await by_athena(made, ASKED, service)  # and it is tried again, from there on
    assert len(service.texts) == 6
    assert found.record == (await answer(made, ASKED)).record


@pytest.mark.parametrize(
    ("measure", "where", "payload"),
    [
        ("sum(payload.x)", None, b'{"x": "no"}'),
        ("count(*)", "payload.x > 1", b'{"x": [1]}'),
        ("count(*)", "payload.x", b'{"x": {"y": 1}}'),
        ("sum(payload.x)", None, b'{"x": 0.%s1}' % (b"0" * 38)),
        ("sum(payload.x * payload.x)", None, b'{"x": 1%s}' % (b"0" * 30)),
    ],
)
async def test_both_refuse_the_same_events_in_the_same_words(
    tmp_path: Path, folder: Path, measure: str, where: str | None, payload: bytes
) -> None:
    made = await world(tmp_path)
    events = [arrival("good", START, b'{"x": true}' if where == "payload.x" else b'{"x": 2}')]
    await made.land(as_rows([*events, arrival("bad", after(1), payload)]), at=START)
    made.clock.advance(60)
    asked = definition(START, after(100), ("m", measure), where=where)
    with pytest.raises(UnreadableValue) as one:
        await answer(made, asked)
    with pytest.raises(UnreadableValue) as other:
        await by_athena(made, asked, DuckDBService(made.bucket, folder))
    assert (
        str(other.value).split(" (query")[0].split("measures: ")[-1] == str(one.value).split("measures: ")[-1]
    )


async def test_a_query_that_is_cancelled_again_and_again_is_asked_no_more(
    tmp_path: Path, folder: Path
) -> None:
    made = await small(tmp_path)
    service = DuckDBService(made.bucket, folder)
    service.fail = {"leaf_0": QueryStatus(QueryState.CANCELLED)}
    for _ in range(3):
        with pytest.raises(Unavailable):
            await by_athena(made, ASKED, service)
    with pytest.raises(QueryFailed, match="cancelled by somebody else"):
        await by_athena(made, ASKED, service)
