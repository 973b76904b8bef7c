"""Reading what can be read of a damaged segment, page by page, and saying what cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pik.domain.errors import Tampered
from pik.domain.instants import Instant
from pik.domain.segments import SegmentHead
from pik.execution.parquet import SCHEMA, read_head
from pik.execution.verify.pages import Chunk, chunks_of, pages_of, without
from pik.execution.verify.rows import UNREAD, Cells, Unread

_FAILURES = (pa.ArrowException, OSError, ValueError)


class Stretch(msgspec.Struct, frozen=True):
    """Places [first, last] of a column whose bytes changed. `readable`: they still give values, which may
    be others than those that were written."""

    column: str
    first: int
    last: int
    readable: bool


class Salvage(msgspec.Struct, frozen=True):
    """What could be read: `columns` by name, UNREAD where a value could not."""

    head: SegmentHead | Tampered
    rows: int
    columns: dict[str, list[Any]]
    stretches: tuple[Stretch, ...]

    def cells(self, place: int) -> Cells:
        cell = {name: values[place] for name, values in self.columns.items()}
        time: Instant | Unread = UNREAD
        if cell["event_time"] is not UNREAD and cell["event_time_rest"] is not UNREAD:
            time = Instant(cell["event_time"], cell["event_time_rest"])
        return Cells(**{name: cell[name] for name in Cells.__struct_fields__} | {"event_time": time})


def salvage(body: bytes) -> Salvage:
    """Reads each column by itself. Raises `Tampered` where the file's footer cannot be read: without it no
    reader can tell where anything lies."""
    try:
        file = _open(body, checked=True)
        metadata, rows = file.schema_arrow.metadata, file.metadata.num_rows
        chunks = chunks_of(body)
        if not 0 <= rows <= len(body):
            raise ValueError(f"a file of {len(body)} bytes does not hold {rows} rows")
    except _FAILURES as error:
        raise Tampered(f"the footer cannot be read: {error}") from error
    try:
        head: SegmentHead | Tampered = read_head(metadata)
    except Tampered as error:
        head = error
    columns: dict[str, list[Any]] = {}
    stretches: list[Stretch] = []
    for field in SCHEMA:
        values: list[Any] = []
        damage: _Damage = []
        for chunk in chunks:
            if chunk.column == field.name:
                part, damaged = _column(body, field, chunk)
                damage += [(len(values) + first, len(values) + last, how) for first, last, how in damaged]
                values += part
        if len(values) != rows:  # pages that say another number of rows than they have shift all others
            values, damage = _lost(rows)
        damage += _no_text(values, damage)
        for first, last, readable in damage:
            _add(stretches, Stretch(field.name, first, last, readable))
        columns[field.name] = values
    return Salvage(head, rows, columns, tuple(stretches))


def changed_stretches(body: bytes, other: bytes) -> list[Stretch]:
    """Where the pages of two files of one layout differ; none where their layouts do. Both can be read."""
    if len(body) != len(other):
        return []
    stretches: list[Stretch] = []
    places: Counter[str] = Counter()
    for chunk in chunks_of(body):
        every = False  # the dictionary differs, and with it what all of the values stand for
        for page in pages_of(body, chunk):
            differs = body[page.start : page.end] != other[page.start : page.end]
            every |= differs and page.dictionary
            place, rows = places[chunk.column], page.rows or 0
            if rows and (differs or every):
                _add(stretches, Stretch(chunk.column, place, place + rows - 1, readable=True))
            places[chunk.column] += rows
    return stretches


def _add(stretches: list[Stretch], stretch: Stretch) -> None:
    """Appends it, or lets it continue the last one."""
    if stretches:
        last = stretches[-1]
        if (last.column, last.last + 1, last.readable) == (stretch.column, stretch.first, stretch.readable):
            stretch = msgspec.structs.replace(stretch, first=last.first)
            stretches.pop()
    stretches.append(stretch)


_Damage = list[tuple[int, int, bool]]  # first and last place, readable


def _lost(rows: int) -> tuple[list[Any], _Damage]:
    return [UNREAD] * rows, [(0, rows - 1, False)] if rows else []


def _no_text(values: list[Any], damage: _Damage) -> _Damage:
    """The places, outside what could not be read at all, whose bytes are no text."""
    unread = {place for place, value in enumerate(values) if value is UNREAD}
    for first, last, readable in damage:
        if not readable:
            unread -= set(range(first, last + 1))
    return [(place, place, False) for place in sorted(unread)]


def _column(body: bytes, field: pa.Field, chunk: Chunk) -> tuple[list[Any], _Damage]:
    values = _read(body, chunk.group, field, checked=True)
    if values is not None:
        return values, []
    return _assembled(chunk.rows, list(_page_by_page(body, field, chunk)))


def _page_by_page(
    body: bytes, field: pa.Field, chunk: Chunk
) -> Iterator[tuple[int | None, list[Any] | None, bool]]:
    """Of each page of data: its number of rows if known, its values if readable, whether it is whole. A
    page is read in a file that has no other page of its column but the dictionary."""
    pages = pages_of(body, chunk)
    for page in pages:
        if page.dictionary:
            continue
        alone = without(body, [other for other in pages if other is not page and not other.dictionary])
        values = _read(alone, chunk.group, field, checked=True)
        whole = values is not None
        if values is None:
            values = _read(alone, chunk.group, field, checked=False)
        yield page.rows, values, whole


def _assembled(
    rows: int, pages: list[tuple[int | None, list[Any] | None, bool]]
) -> tuple[list[Any], _Damage]:
    """The column from its pages. What lies between two stretches of unknown length has no known place."""
    unknown = [number for number, (count, _, _) in enumerate(pages) if count is None]
    missing = rows - sum(count or 0 for count, _, _ in pages)
    if len(unknown) > 1:
        between = slice(unknown[0], unknown[-1] + 1)
        missing += sum(count or 0 for count, _, _ in pages[between])
        pages[between] = [(None, None, False)]
    values: list[Any] = []
    damage: _Damage = []
    for count, found, whole in pages:
        count = missing if count is None else count
        first, last = len(values), len(values) + count - 1
        readable = found is not None and len(found) == count
        values += found if found is not None and readable else [UNREAD] * count
        if count and not (whole and readable):
            damage.append((first, last, readable))
    return values, damage


def _open(body: bytes, *, checked: bool) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(body), page_checksum_verification=checked)


def _read(body: bytes, group: int, field: pa.Field, *, checked: bool) -> list[Any] | None:
    """A column's values, None where it cannot be read. Text that is no text is UNREAD."""
    try:
        table = _open(body, checked=checked).read_row_group(group, columns=[field.name], use_threads=False)
        (column,) = table.columns
        if column.type != field.type:
            return None
        if not pa.types.is_string(field.type):
            return list(column.cast(pa.int64()).to_pylist())
        values = column.cast(pa.binary()).to_pylist()
    except _FAILURES:
        return None
    return values if field.name == "data" else [_text(value) for value in values]


def _text(value: bytes | None) -> str | Unread | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return UNREAD
