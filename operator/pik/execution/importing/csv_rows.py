"""Rows of CSV files (RFC 4180, UTF-8, a header, commas) as events.

The payload of a row is a JSON object of its cells in the order of the columns. A cell is null where it is one
of the texts that stand for nothing, a number where its text is one in JSON (its characters stay: `1.50`,
`007` is a string), else a string. A CSV has no types and no bytes of a row's own that mean something: how a
cell was quoted, or which line ends a file has, must not make a CONFLICT of the same row.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from pik.domain.errors import UnreadableFile
from pik.domain.instants import parse_instant
from pik.domain.intake import Decoded, Intake, IntakeRules, Said, assemble
from pik.domain.payloads import NotAnEvent, Reason, check_size
from pik.execution.importing.records import Record

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_STRING = json.JSONEncoder(ensure_ascii=False)
_REMEMBERED = 50_000


def read_csv(
    lines: Iterable[tuple[bytes, bool]], rules: IntakeRules, nulls: frozenset[str]
) -> Iterator[Record]:
    """The rows after the header. `nulls`: cells that stand for nothing. Blank lines are no rows.

    Raises `UnreadableFile`: no header, two columns of one name, or none for a field that events must have.
    """
    source = _Lines(lines)
    rows = csv.reader(source, strict=True)
    mapper = _RowMapper(_header(rows, source), rules, nulls)
    while True:
        source.start_record()
        intake: Intake
        try:
            cells = next(rows)
            if not cells:
                continue
            intake = mapper.event(cells)
        except StopIteration:
            return
        except csv.Error as error:
            intake = NotAnEvent(Reason.INVALID_ROW, f"not CSV: {error}").rejection
        except NotAnEvent as error:
            intake = error.rejection
        yield Record(source.first, intake, b"".join(source.record))


def _header(rows: Iterator[list[str]], source: _Lines) -> list[str]:
    try:
        columns = next(rows)
        b"".join(source.record).decode()
    except StopIteration as error:
        raise UnreadableFile("it is empty; its first line must name the columns") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise UnreadableFile(f"its first line does not name columns: {error}") from error
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UnreadableFile(f"two columns have the name {twice[0]!r}")
    return columns


class _Lines:
    """Feeds a csv.reader, and keeps the lines of the record that it is reading."""

    def __init__(self, lines: Iterable[tuple[bytes, bool]]) -> None:
        self._lines = iter(lines)
        self.record: list[bytes] = []
        self.first = 1  # line of the record

    def start_record(self) -> None:
        self.first += len(self.record)
        self.record.clear()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, whole = next(self._lines)
        if not whole:
            number = self.first + len(self.record)
            raise UnreadableFile(f"line {number} is longer than {len(line)} bytes")
        self.record.append(line)
        # what is not UTF-8 rejects its own row, when that is encoded
        return line.decode(errors="surrogateescape")


class _RowMapper:
    """Makes events of rows with these columns."""

    def __init__(self, columns: Sequence[str], rules: IntakeRules, nulls: frozenset[str]) -> None:
        if rules.mapping is None or not rules.mapping.takes_rows:
            raise UnreadableFile("rows become events by the stream's mapping, and it has none for rows")
        missing = rules.mapping.missing(frozenset(columns))
        if missing:
            raise UnreadableFile(f"no column gives what the mapping wants for {', '.join(missing)}")
        self._rules = rules
        self._nulls = nulls
        self._index = {name: number for number, name in enumerate(columns)}
        names = [_STRING.encode(name).replace("%", "%%") for name in columns]
        self._template = "{" + ",".join(f"{name}:%s" for name in names) + "}"
        self._json = _Cells(nulls)
        self._parse = lru_cache(4096)(parse_instant)  # times repeat

    def event(self, cells: list[str]) -> Decoded:
        if len(cells) != len(self._index):
            raise NotAnEvent(
                Reason.INVALID_ROW, f"the row has {len(cells)} cells; the header names {len(self._index)}"
            )

        def lookup(path: str) -> str | None:
            number = self._index.get(path)
            if number is None:
                return None
            text = cells[number]
            return None if not text or text in self._nulls else text

        encode = self._json.__getitem__
        try:
            data = (self._template % tuple(map(encode, cells))).encode()
        except UnicodeEncodeError as error:
            raise NotAnEvent(Reason.INVALID_UTF8, "the row is not UTF-8") from error
        check_size(data, self._rules.max_event_bytes)
        return assemble(Said(), data, self._rules, lookup=lookup, parse=self._parse)


class _Cells(dict[str, str]):
    """The JSON text of a cell; cells repeat, so some are remembered."""

    def __init__(self, nulls: frozenset[str]) -> None:
        super().__init__()
        self._nulls = nulls

    def __missing__(self, cell: str) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        if cell in self._nulls:
            text = "null"
        elif _NUMBER.fullmatch(cell) and math.isfinite(float(cell)):
            text = cell
        else:
            text = _STRING.encode(cell)
        self[cell] = text
        return text
