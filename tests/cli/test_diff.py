"""`pik diff`: two answers to one question, between which events came late."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest

from aggregate.questions import definition
from cli.desks import Office, lines
from pik.api.aggregate_version import KnownBy
from pik.domain.instants import Instant
from pik.execution.aggregate.compute import compute
from reading.streams import after, arrival

VALUES = {"key0": 1, "key1": 2, "key2": 10, "key3": 7}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Two events were known at half past; two of the same hour came after."""
    office = Office(tmp_path)
    for key, value in list(VALUES.items())[:2]:
        office.capture(arrival(key, after(60), json.dumps({"n": value, "place": "here"}).encode()))
    office.at(3_600)
    for key, value in list(VALUES.items())[2:]:
        office.capture(arrival(key, after(120), json.dumps({"n": value, "place": "there"}).encode()))
    office.at(7_200)
    return office


def version(office: Office, as_of: Instant) -> str:
    asked = definition(after(0), after(1_800), ("events", "count(*)"), ("mean", "avg(payload.n)"))

    async def work() -> str:
        found = await compute(
            office.stream(), asked, namespace="tests", name="v", known_by=KnownBy.INGEST_TIME, as_of=as_of
        )
        return found.version

    return asyncio.run(work())


def test_a_moved_number_is_explained_by_its_events(office: Office) -> None:
    first, second = version(office, after(1_800)), version(office, after(7_000))
    result = office.run("diff", first[:12], second[:12], "--by", "payload.place")
    assert result.exit_code == 0, result.output
    told = lines(result)
    assert told[0] == "1 row changed, by 2 events: 2 late."
    assert "The first knew 2 of the 4 events that the second has: it was 50.0% complete." in told
    assert "These events explain every row." in told
    assert ["mean", "1.5", "5", "0.0%"] in [line.split() for line in told]
    assert "mean by payload.place" in told
    assert "events by payload.place" not in told  # a measure that counts says what is said already
    assert "Events by payload.place" in told
    assert ["there", "-", "8.5", "8.5"] in [line.split() for line in told]

    found = office.ask("diff", first, second, "--by", "payload.place")
    assert (found["counts"]["late"], found["completeness"], found["rows_left_over"]) == (2, 0.5, 0)
    assert {event["class"] for event in found["events"]} == {"late"}
    assert float(next(row for row in found["measures"] if row["measure"] == "mean")["after"]) == 5
    rows = list(csv.DictReader(io.StringIO(office.run("diff", first, second, "-o", "csv").stdout)))
    assert [row["event_id"] for row in rows] == [event["event_id"] for event in found["events"]]


def test_the_same_version_is_said_to_be(office: Office) -> None:
    first = version(office, after(1_800))
    [line] = lines(office.run("diff", first, first))
    assert line.startswith("Nothing changed from ")


def test_what_names_no_answer_is_an_error(office: Office) -> None:
    result = office.run("diff", "abcdef", "fedcba")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: no AggregateVersion or version is called abcdef; see `pik get av`\n",
    )
