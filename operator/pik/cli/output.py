"""What commands print: tables for people, JSON and CSV for programs.

| format | what |
|---|---|
| `table` | for people: drawn on a terminal, plain aligned text where piped |
| `json` | everything, with stable names: instants in RFC 3339, durations in seconds, shares from 0 to 1 |
| `csv` | one table with a header; instants and durations as in JSON |
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from types import NoneType
from typing import Any, TypeVar

import click
import msgspec

from pik.domain.differences import Difference
from pik.domain.instants import Instant
from pik.execution.inspect.report import Column, Kind, Section, plain

C = TypeVar("C", bound=Callable[..., Any])

_RIGHT = {Kind.COUNT, Kind.SHARE, Kind.DURATION}
_DIGEST = 16  # hex digits of an id in a table


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def output_option(command: C) -> C:
    """Adds `-o`, passed as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(Format, case_sensitive=False),
        default=Format.TABLE,
        show_default="table",
        help="Form of the answer: table for people, json (everything) or csv for programs.",
    )(command)


class Table(msgspec.Struct, frozen=True):
    """Rows under titles."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Any]]

    @classmethod
    def of(cls, fields: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> Table:
        """Columns by the names of their fields: of counts where there are whole numbers only, of shares where
        there are floats only."""
        columns = []
        for place, field in enumerate(fields):
            found = {type(row[place]) for row in rows} - {NoneType}
            kind = {frozenset({int}): Kind.COUNT, frozenset({float}): Kind.SHARE}.get(
                frozenset(found), Kind.TEXT
            )
            columns.append(Column(field, field.replace("_", " ").capitalize(), kind))
        return cls(title, tuple(columns), rows)

    @classmethod
    def section(cls, section: Section, rows: Sequence[msgspec.Struct]) -> Table:
        """A section of a report."""
        cells = [[getattr(row, column.field) for column in section.columns] for row in rows]
        return cls(section.title, section.columns, cells)

    def documents(self) -> list[dict[str, Any]]:
        """A mapping for each row, as JSON has it."""
        fields = [column.field for column in self.columns]
        return [dict(zip(fields, map(plain, row), strict=True)) for row in self.rows]


def show_table(table: Table, output: Format) -> None:
    """A table that is the whole answer: in JSON a list of objects."""
    match output:
        case Format.JSON:
            show_json(table.documents())
        case Format.CSV:
            show_csv(table)
        case Format.TABLE:
            print_table(table)


def show_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def show_csv(table: Table) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([column.field for column in table.columns])
    for document in table.documents():
        writer.writerow([_csv_cell(cell) for cell in document.values()])


def print_table(table: Table, *, titled: bool = True) -> None:
    """For people. A column that is empty in every row is left out."""
    kept = [
        place
        for place in range(len(table.columns))
        if not table.rows or any(row[place] not in (None, "", ()) for row in table.rows)
    ]
    columns = [table.columns[place] for place in kept]
    rows = [[shown(row[place], columns[at].kind) for at, place in enumerate(kept)] for row in table.rows]
    if table.title and titled:
        click.secho(f"\n{table.title}", bold=True)
    if not rows:
        click.echo("none")
    elif sys.stdout.isatty() or os.environ.get("FORCE_COLOR"):
        _draw(columns, rows)
    else:
        _align(columns, rows)


def shown(value: Any, kind: Kind = Kind.TEXT) -> str:
    """A value as people read it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case Instant():
            return value.exact_text.replace(".000000Z", "Z")
        case timedelta():
            return duration_text(value)
        case float() if kind is Kind.SHARE:
            return f"{value:.2%}"
        case int():
            return f"{value:,}"
        case Difference():
            return f"{value.path}: {_absent(value.first)} → {_absent(value.other)}"
        case tuple() | list():
            return "; ".join(shown(item) for item in value)
        case msgspec.Struct():
            return ", ".join(f"{name} {shown(item)}" for name, item in msgspec.structs.asdict(value).items())
    return str(value)


def duration_text(duration: timedelta) -> str:
    """`3d 04:05:06`, `1h02m`, `12.5s`, `250ms`: exact enough to read, not to compute with."""
    sign = "-" if duration < timedelta() else ""
    seconds = abs(duration).total_seconds()
    if seconds < 1:
        return f"{sign}{seconds * 1000:.3g}ms" if seconds else "0s"
    if seconds < 60:
        return f"{sign}{seconds:.3g}s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{sign}{days}d{hour:02}h{minute:02}m"
    if hours:
        return f"{sign}{hour}h{minute:02}m"
    return f"{sign}{minute}m{second:02}s"


def short(digest: str) -> str:
    """A hash or an id by its beginning, which the commands take for the whole."""
    return digest[:_DIGEST]


def _absent(text: str | None) -> str:
    return "absent" if text is None else text


def _csv_cell(cell: Any) -> Any:
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False, separators=(",", ":"))
    return cell


def _draw(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(column.title, justify="right" if column.kind in _RIGHT else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console().print(drawn)


def _align(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    lines = [[column.title.upper() for column in columns], *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if column.kind in _RIGHT else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())
