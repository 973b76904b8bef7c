"""The form that every inspection answers in, so that one renderer serves them all.

What a report and its rows say of themselves is in their fields: a field's type is the column's kind, its name
the title, and a report's field of several structs is a section.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec

from pik.domain.instants import Instant


class Kind(StrEnum):
    """What a column holds, for whoever renders it."""

    TEXT = "text"
    COUNT = "count"
    SHARE = "share"  # 0 to 1
    INSTANT = "instant"
    DURATION = "duration"
    LIST = "list"  # of texts or of structs


_KINDS: dict[type, Kind] = {
    str: Kind.TEXT,
    int: Kind.COUNT,
    float: Kind.SHARE,
    Instant: Kind.INSTANT,
    timedelta: Kind.DURATION,
    tuple: Kind.LIST,
}


class Column(msgspec.Struct, frozen=True):
    """An attribute of a row or a report."""

    field: str
    title: str
    kind: Kind


class Section(msgspec.Struct, frozen=True):
    """An attribute of a report that holds a tuple of rows."""

    field: str
    title: str
    columns: tuple[Column, ...]


class Report(msgspec.Struct, frozen=True):
    """An inspection's answer: a summary, whose counts are of everything in the window, and sections of rows,
    of which the longer are cut to the options' `limit`, the worst first."""

    @classmethod
    def summary(cls) -> tuple[Column, ...]:
        return tuple(column for column in _columns(cls) if _row_type(cls, column) is None)

    @classmethod
    def sections(cls) -> tuple[Section, ...]:
        return tuple(
            Section(column.field, column.title, _columns(row))
            for column in _columns(cls)
            if (row := _row_type(cls, column)) is not None
        )

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of the first section."""
        return self.sections()[0].columns

    @property
    def rows(self) -> Sequence[msgspec.Struct]:
        """Of the first section."""
        return self.section(self.sections()[0])

    def section(self, section: Section) -> Sequence[msgspec.Struct]:
        found: Sequence[msgspec.Struct] = getattr(self, section.field)
        return found

    def document(self) -> dict[str, Any]:
        """Everything as JSON has it: instants as RFC 3339 texts, durations in seconds."""
        summary = {column.field: plain(getattr(self, column.field)) for column in self.summary()}
        return {"summary": summary} | {
            section.field: plain(self.section(section)) for section in self.sections()
        }


def plain(value: Any) -> Any:
    """A cell or row as JSON has it."""
    if isinstance(value, Instant):
        return value.exact_text
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def _columns(struct: type[msgspec.Struct]) -> tuple[Column, ...]:
    return tuple(
        Column(field.name, field.name.replace("_", " ").capitalize(), _kind(field.type))
        for field in msgspec.structs.fields(struct)
    )


def _kind(declared: Any) -> Kind:
    present = [part for part in get_args(declared) if part is not NoneType]
    if get_origin(declared) is tuple:
        return Kind.LIST
    if present:  # X | None
        return _kind(present[0])
    return Kind.TEXT if issubclass(declared, str) else _KINDS[declared]


def _row_type(struct: type[msgspec.Struct], column: Column) -> type[msgspec.Struct] | None:
    """The struct of the rows in a section, None for what is no section."""
    declared = next(field.type for field in msgspec.structs.fields(struct) if field.name == column.field)
    if get_origin(declared) is not tuple:
        return None
    row = get_args(declared)[0]
    return row if issubclass(row, msgspec.Struct) else None
