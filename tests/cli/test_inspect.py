"""`pik inspect`: what it asks, and how it says what was found."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from cli.desks import Office, lines, manifest
from reading.streams import after, arrival

EXPECTING = {"expect": {"every": "1h", "lateAfter": "15m"}}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Five hours of one entity, of which the third is missing; one event was late by 40 minutes."""
    office = Office(tmp_path, manifest(**EXPECTING))
    for hour in (0, 1, 3, 4):
        lag = 2_400 if hour == 1 else 60
        office.at(hour * 3_600 + lag)
        office.capture(arrival(f"key{hour}", after(hour * 3_600)))
    return office


def test_late_events_by_the_streams_own_expectation(office: Office) -> None:
    result = office.run("inspect", "late", "things")
    assert result.exit_code == 0, result.output
    assert lines(result)[0].startswith(
        "1 event of 4 (25.0%) became known more than 15m00s after it happened."
    )
    assert office.ask("inspect", "late", "tests/things")["summary"]["late"] == 1
    assert office.ask("inspect", "late", "things", "--late-after", "1h")["summary"]["late"] == 0


def test_a_window_is_half_open(office: Office) -> None:
    first, third = after(0).text, after(3 * 3_600).text
    assert office.ask("inspect", "late", "things", "--from", first, "--to", third)["summary"]["events"] == 2
    assert office.ask("inspect", "late", "things", "--from", third)["summary"]["events"] == 2
    assert office.ask("inspect", "late", "things", "--to", third)["summary"]["events"] == 2


def test_gaps_as_csv_have_one_table(office: Office) -> None:
    result = office.run("inspect", "gaps", "things", "-o", "csv", "--section", "runs")
    [run] = csv.DictReader(io.StringIO(result.stdout))
    assert (run["key"], run["missing"]) == ("e1", "1")
    assert run["first"] == run["last"] == after(2 * 3_600).exact_text


@pytest.mark.parametrize("kind", ["duplicates", "conflicts", "order", "skew"])
def test_the_others_answer(office: Office, kind: str) -> None:
    result = office.run("inspect", kind, "things")
    assert result.exit_code == 0, result.output
    assert lines(result)[0].startswith("0 ")
    assert "summary" in office.ask("inspect", kind, "things")


def test_repeats_and_conflicts_are_found(office: Office) -> None:
    office.capture(arrival("key0", after(0)), arrival("key1", after(3_600), b'{"n":1}'))
    assert lines(office.run("inspect", "duplicates", "things"))[0].startswith("1 duplicate among 6 arrivals")
    result = office.run("inspect", "conflicts", "things")
    assert lines(result)[0] == "1 arrival in conflict with 1 event."
    [head] = [line for line in lines(result) if "key key1" in line]
    assert lines(result)[lines(result).index(head) + 1] == "  payload.n  absent → 1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["late", "things", "--from", "2013-07-02T00:00:00Z", "--to", "2013-07-01T00:00:00Z"],
            "before its to",
        ),
        (["late", "things", "--from", "yesterday"], "not an RFC 3339 instant"),
        (["late", "things", "--late-after", "soon"], "not hours, minutes and seconds"),
        (["gaps", "things", "--every", "0s"], "longer than nothing"),
        (["gaps", "things", "--by", "Colour"], "payload.PATH"),
        (["late", "things", "--top", "0"], "0 is not in the range"),
        (["late", "things", "--section", "colours"], "--section is one of"),
    ],
)
def test_what_is_not_understood_ends_with_2(office: Office, arguments: list[str], message: str) -> None:
    result = office.run("inspect", *arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())


def test_an_unknown_stream_is_named_with_those_that_there_are(office: Office) -> None:
    result = office.run("inspect", "late", "thongs")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: there is no CaptureStream thongs in the office (there is: tests/things)\n"
    )


def test_a_name_in_two_namespaces_must_be_whole(tmp_path: Path) -> None:
    office = Office(tmp_path, manifest(), manifest(namespace="others"))
    result = office.run("inspect", "late", "things", "--late-after", "1h")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: which CaptureStream: others/things and tests/things? Give namespace/name\n",
    )


def test_without_an_expectation_one_must_be_given(tmp_path: Path) -> None:
    result = Office(tmp_path).run("inspect", "gaps", "things")
    assert result.exit_code == 2
    assert "give --every" in result.stderr


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("kind", ["late", "gaps", "duplicates", "conflicts", "order", "skew"])
def test_no_line_is_wider_than_the_terminal(office: Office, kind: str, columns: int) -> None:
    office.capture(
        arrival("key0", after(0)), arrival("key1", after(3_600), b'{"n":"' + b"long " * 50 + b'"}')
    )
    office.columns = columns
    result = office.run("inspect", kind, "things")
    assert result.exit_code == 0, result.output
    assert max(map(len, lines(result))) <= columns


def test_at_most_ten_rows_for_people_and_more_for_programs(office: Office) -> None:
    office.capture(*(arrival(f"late{number}", after(number)) for number in range(25)))
    shown = lines(office.run("inspect", "late", "things"))
    assert shown[-1] == "… and 16 more"
    assert lines(office.run("inspect", "late", "things", "--top", "24"))[-1] == "… and 2 more"
    assert len(office.ask("inspect", "late", "things")["sections"]["latest"]) == 26


def test_an_event_is_explained_by_the_beginning_that_a_table_shows(office: Office) -> None:
    [line] = [
        line for line in lines(office.run("inspect", "late", "things")) if "40m" in line and "e1" in line
    ]
    office.columns = 80
    result = office.run("explain", line.split()[0])
    assert result.exit_code == 0, result.output
    assert "1 arrival; it went into 0 replays and 0 aggregates." in " ".join(result.stdout.split())
    assert max(map(len, lines(result))) <= 80


@pytest.mark.parametrize("known_by", ["ReceivedTime", "receivedtime"])
def test_a_choice_is_named_as_in_manifests(office: Office, known_by: str) -> None:
    assert office.run("inspect", "late", "things", "--known-by", known_by).exit_code == 0
