"""What commands print: tables for people, JSON and CSV for programs.

| format | what |
|---|---|
| `table` | for people: within the terminal's width, ids by their beginning, the first rows |
| `wide` | for people: every column and every digit |
| `json` | everything, with stable names: instants in RFC 3339, durations in seconds, shares from 0 to 1 |
| `csv` | one table with a header; instants and durations as in JSON |
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import StrEnum
from types import NoneType
from typing import Any, TypeVar

import click
import msgspec

from pik.cli import layout
from pik.cli.wording import is_instant, shown
from pik.execution.inspect.report import Column, Kind, Section, plain

C = TypeVar("C", bound=Callable[..., Any])

_RIGHT = {Kind.COUNT, Kind.SHARE, Kind.DURATION}
_FOLDING = {Kind.TEXT, Kind.LIST}
_NUMBERS = ({int}, {Decimal}, {int, Decimal})
_EACH = 3  # rows from which on what they have in common is said once


class Format(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    CSV = "csv"


PEOPLE = (Format.TABLE, Format.WIDE)


def output_option(command: C) -> C:
    """Adds `-o`, passed as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(Format, case_sensitive=False),
        default=Format.TABLE,
        show_default="table",
        help="Form of the answer: table, or wide (all columns) for people; json (everything) or csv for "
        "programs.",
    )(command)


class Table(msgspec.Struct, frozen=True):
    """Rows under titles. `wide`: fields that people see with `-o wide` only."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Any]]
    wide: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        fields: Sequence[str],
        rows: Sequence[Sequence[Any]],
        title: str = "",
        wide: Sequence[str] = (),
    ) -> Table:
        """Columns by the names of their fields: of counts where there are numbers only, of shares where there
        are floats only."""
        columns = []
        for place, field in enumerate(fields):
            found = {type(row[place]) for row in rows} - {NoneType}
            kind = Kind.COUNT if found in _NUMBERS else Kind.SHARE if found == {float} else Kind.TEXT
            columns.append(Column(field, field.replace("_", " ").capitalize(), kind))
        return cls(title, tuple(columns), rows, frozenset(wide))

    @classmethod
    def section(cls, section: Section, rows: Sequence[msgspec.Struct]) -> Table:
        """A section of a report."""
        cells = [[getattr(row, column.field) for column in section.columns] for row in rows]
        return cls(section.title, section.columns, cells)

    def documents(self) -> list[dict[str, Any]]:
        """A mapping for each row, as JSON has it."""
        fields = [column.field for column in self.columns]
        return [dict(zip(fields, map(_document, row), strict=True)) for row in self.rows]


def show_table(table: Table, output: Format, sentence: str = "") -> None:
    """A table that is the whole answer, for people after a sentence that sums it up: in JSON a list of
    objects."""
    match output:
        case Format.JSON:
            show_json(table.documents())
        case Format.CSV:
            show_csv(table)
        case Format.TABLE | Format.WIDE:
            if sentence:
                layout.say(sentence)
            if table.rows:
                print_table(table, wide=output is Format.WIDE)


def show_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def show_csv(table: Table) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([column.field for column in table.columns])
    for document in table.documents():
        writer.writerow([_csv_cell(cell) for cell in document.values()])


def print_table(
    table: Table, *, wide: bool = False, gather: bool = True, top: int | None = None, found: int | None = None
) -> None:
    """For people: its first `top` rows of `found`. A column that is empty in every row is left out; `gather`:
    what several rows all have in common is said once, before them."""
    rows = table.rows[:top]
    kept, common = list[layout.Cells](), list[str]()
    for place, column in enumerate(table.columns):
        values = [row[place] for row in rows]
        if (rows and all(value in (None, "", ()) for value in values)) or (
            not wide and column.field in table.wide
        ):
            continue
        texts = [shown(value, column.kind, whole=wide) for value in values]
        if gather and not wide and kept and len(rows) >= _EACH and _constant(column, texts):
            common.append(f"{column.title.lower()} {texts[0]}")
        else:
            folds = column.kind in _FOLDING and not all(map(is_instant, texts))
            kept.append(layout.Cells(column.title, texts, folds, column.kind in _RIGHT))
    if table.title:
        layout.title(table.title)
    if common:
        layout.say(f"each: {', '.join(common)}")
    if not rows:
        layout.say("none")
        return
    left_out = layout.table(kept, None if wide else layout.width())
    more = max(len(table.rows) if found is None else found, len(rows)) - len(rows)
    told = [f"… and {more:,} more"] if more else []
    told += [f"no room for: {', '.join(left_out).lower()} (-o wide)"] if left_out else []
    if told:
        layout.say("; ".join(told))


def _constant(column: Column, texts: Sequence[str]) -> bool:
    return column.kind in (Kind.TEXT, Kind.INSTANT) and len(set(texts)) == 1


def _document(cell: Any) -> Any:
    """A value as JSON has it; decimals by their digits."""
    return format(cell, "f") if isinstance(cell, Decimal) else plain(cell)


def _csv_cell(cell: Any) -> Any:
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False, separators=(",", ":"))
    return cell
