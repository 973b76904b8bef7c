"""`pik runs` and `pik ledger`: of a run that was given up midway, and gone on with."""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path

import pytest

from cli.desks import Office, lines, manifest
from pik.api.replay_job import ReplayJob
from pik.execution.replay.run import run_replay
from pik.execution.replay.shard import run_shard
from pik.memory.sink import MemorySink, MemoryTarget
from pik.planning.replay.batches import TargetOrder
from pik.planning.replay.plan import ReplayPlan
from pik.ports.sinks import SinkTraits
from reading.streams import after, arrival
from replay.slices import ListSelector, begin, event, spec, tools
from replay.slices import job as slice_job

EVENTS = [event(number) for number in range(6)]
TRAITS = SinkTraits(3, 262_144, 2, TargetOrder.MESSAGE, None)


class Crashed(BaseException):
    """The worker dies; no handler takes it for an error."""


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def given_up(office: Office) -> ReplayPlan:
    """A run whose worker died after the target had its first messages, and before it wrote so."""

    async def die(call: str) -> None:
        raise Crashed(call)

    async def work() -> ReplayPlan:
        stream, selector = office.stream(), ListSelector(EVENTS)
        plan = await begin(stream, selector, spec())
        sink = MemorySink(MemoryTarget(), TRAITS, after=die)
        with pytest.raises((Crashed, BaseExceptionGroup)):
            await run_shard(stream, plan.run_id, 0, tools(stream, selector, sink))
        return plan

    return asyncio.run(work())


def gone_on_with(office: Office, plan: ReplayPlan) -> None:
    async def work() -> None:
        stream = office.stream()
        used = tools(stream, ListSelector(EVENTS), MemorySink(MemoryTarget(), TRAITS), holder="next")
        await run_replay(stream, plan.run_id, used, 1)

    office.clock.advance(31)
    asyncio.run(work())


def test_a_chunk_in_doubt_is_said_before_and_after_it_was_gone_on_with(office: Office) -> None:
    plan = given_up(office)
    assert [run["state"] for run in office.ask("runs")] == ["Open"]
    result = office.run("ledger", "again")
    assert result.exit_code == 0, result.output  # it is not over, and need not add up
    assert "4 events without an outcome: in doubt, and may have been sent." in lines(result)
    assert "Begun, and in doubt: may have been sent" in lines(result)
    assert [chunk["events"] for chunk in office.ask("ledger", "again")["unknown"]] == [4]

    gone_on_with(office, plan)
    assert lines(office.run("runs"))[0] == "1 replay begun: 1 succeeded."
    result = office.run("ledger", plan.run_id[:8])
    told = " ".join(result.stdout.split())
    assert "6 events planned = 6 sent: every event is accounted for." in told
    assert "4 events may have been sent twice;" in told
    assert "Chunks in doubt" in lines(result)
    found = office.ask("ledger", plan.run_id)
    assert found["unknown"] == []
    assert [chunk["events"] for chunk in found["doubtful"]] == [4]
    assert [event["event_id"] for event in found["events"]] == [event.event_id for event in EVENTS]


def test_a_table_has_the_first_events_and_csv_has_all(office: Office) -> None:
    gone_on_with(office, given_up(office))
    result = office.run("ledger", "tests/again", "--top", "2")
    assert lines(result)[-1] == "… and 4 more"
    rows = list(csv.DictReader(io.StringIO(office.run("ledger", "again", "-o", "csv").stdout)))
    assert [row["event_id"] for row in rows] == [event.event_id for event in EVENTS]
    assert {row["result"] for row in rows} == {"sent"}


def test_a_run_that_was_never_begun(office: Office) -> None:
    assert lines(office.run("runs")) == ["0 replays begun."]
    result = office.run("ledger", "again")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no run again was begun")


def test_an_estimate_says_between_which_numbers_a_replay_is(tmp_path: Path) -> None:
    """Of two segments, one lies whole in the hour; the other has one event before it and one in it."""
    job = ReplayJob(metadata={"name": "again", "namespace": "tests"}, spec=slice_job())  # type: ignore[arg-type]
    office = Office(tmp_path, manifest(), job)
    office.capture(arrival("a", after(0)), arrival("b", after(1)))
    office.capture(arrival("c", after(-1)), arrival("d", after(2)))
    found = office.run("estimate", "again")
    assert found.exit_code == 0, found.output
    assert lines(found)[0].startswith("Between 2 and 4 events, in 2 segments of ")
    [row] = csv.DictReader(io.StringIO(office.run("estimate", "again", "-o", "csv").stdout))
    assert (row["least"], row["most"], row["segments"]) == ("2", "4", "2")
