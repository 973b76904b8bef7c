"""What is printed for people fits the terminal, loses no row, and never obeys a producer's text."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from pik.cli.output import Table, print_table
from pik.cli.wording import decimal_text, duration_text, share_text, shown
from pik.domain.differences import Difference
from pik.domain.instants import Instant
from pik.execution.inspect.report import Kind

SEGMENT = "01a20b8c435e" + "0" * 20
AT = Instant(1_373_428_800_000_000)
CELLS = {
    "event_id": st.just("ab" * 32),
    "count": st.integers(0, 10**9),
    "share": st.floats(0, 1),
    "at": st.integers(0, 2**50).map(Instant),
    "text": st.text(max_size=60),
    "words": st.lists(st.sampled_from(["missing", "→", "航班", "x" * 30]), max_size=12).map(" ".join),
}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=9),
    width=st.integers(40, 140),
    data=st.data(),
)
def test_no_line_is_wider_than_the_terminal(
    fields: list[str],
    width: int,
    data: st.DataObject,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    rows = data.draw(st.lists(st.tuples(*(CELLS[field] for field in fields)), max_size=5))
    print_table(Table.of(fields, rows, "Some things"))
    for line in capsys.readouterr().out.splitlines():
        assert cell_len(line) <= width, line


def printed(capsys: pytest.CaptureFixture[str], table: Table, **how: object) -> list[str]:
    print_table(table, **how)  # type: ignore[arg-type]
    return capsys.readouterr().out.splitlines()


def test_a_column_for_which_there_is_no_room_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    table = Table.of(("first", "second", "third"), [(AT, AT, AT)])
    assert printed(capsys, table) == [
        "FIRST                 SECOND",
        "2013-07-10T04:00:00Z  2013-07-10T04:00:00Z",
        "no room for: third (-o wide)",
    ]
    assert printed(capsys, table, wide=True)[0].split() == ["FIRST", "SECOND", "THIRD"]


def test_what_all_rows_say_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table.of(("name", "source", "count"), [(name, "sensors", 1) for name in "abc"])
    assert printed(capsys, table) == [
        "each: source sensors",
        "NAME  COUNT",
        "a         1",
        "b         1",
        "c         1",
    ]
    assert "each" not in "".join(printed(capsys, table, wide=True))
    assert "each" not in "".join(printed(capsys, table, gather=False))


def test_what_is_not_shown_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table.of(("name",), [(name,) for name in "abc"])
    assert printed(capsys, table, top=2) == ["NAME", "a", "b", "… and 1 more"]
    assert printed(capsys, table, found=1_003)[-1] == "… and 1,000 more"


@pytest.mark.parametrize(
    ("value", "people", "whole"),
    [
        ("ab" * 32, "abababababab", "ab" * 32),
        (f"raw/{SEGMENT}.g00000001.parquet", SEGMENT[:12], f"raw/{SEGMENT}.g00000001.parquet"),
        (AT, "2013-07-10T04:00:00Z", "2013-07-10T04:00:00Z"),
        (Instant(AT.micros + 5_250, "75"), "2013-07-10T04:00:00.005Z", "2013-07-10T04:00:00.00525075Z"),
        ("2013-07-10T04:00:00.500000Z", "2013-07-10T04:00:00.500Z", "2013-07-10T04:00:00.5Z"),
        (Decimal("59.62647754"), "59.626", "59.62647754"),
        (1234567, "1,234,567", "1,234,567"),
        (("EWR", "JFK"), "EWR, JFK", "EWR, JFK"),
        ("\x1b[2Jgone\n", r"\x1b[2Jgone\n", r"\x1b[2Jgone\n"),
        (Difference("payload.temp", "51.98", None), *["payload.temp  51.98 → absent"] * 2),
    ],
)
def test_a_value_is_shortened_for_people(value: object, people: str, whole: str) -> None:
    assert shown(value) == people
    assert shown(value, whole=True) == whole


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0%"), (0.0001, "<0.1%"), (0.5, "50.0%"), (0.9999, ">99.9%"), (1.0, "100.0%")],
)
def test_a_share_is_neither_nothing_nor_all_unless_it_is(share: float, text: str) -> None:
    assert share_text(share) == shown(share, Kind.SHARE) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "0"),
        ("100", "100"),
        ("-31.0", "-31"),
        ("1234.5", "1,234.5"),
        ("1E+20", "100,000,000,000,000,000,000"),
    ],
)
def test_decimals_have_at_most_three_places(value: str, text: str) -> None:
    assert decimal_text(Decimal(value)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (12.5, "12.5s"),
        (-90, "-1m30s"),
        (3_720, "1h02m"),
        (4_884 * 86_400, "4,884d00h00m"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(timedelta(seconds=seconds)) == text
