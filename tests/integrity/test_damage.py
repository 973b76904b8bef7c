"""Any damaged byte of a segment is found, and where it harms rows they are among the rows that are named.

The oracle is what two ordinary readers see in the damaged file: pyarrow without page checksums, which reads
most damaged files, and pyarrow column by column, which says what no reader can read.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from integrity.bench import START, arrivals
from pik.domain.arrivals import Outcome, Row
from pik.domain.layout import Layout, segment_id
from pik.domain.segments import SegmentEntry, SegmentHead
from pik.execution.parquet import SCHEMA, ParquetCodec
from pik.execution.reading.describe import describe_rows
from pik.execution.verify.findings import Finding, Kind
from pik.execution.verify.pages import Chunk, Page, chunks_of, pages_of, without
from pik.execution.verify.rows import COVERED, UNREAD
from pik.execution.verify.salvage import Salvage, Stretch, changed_stretches
from pik.execution.verify.segment import SegmentCheck, Witness
from pik.execution.verify.thrift import read_struct

ROWS = 1_300  # three pages a column
LAYOUT = Layout("", "stream-1")
HEAD = SegmentHead("stream-1", segment_id(START, "ab" * 10, 1), START)
KEY = LAYOUT.segment(HEAD.segment)
CHECK = SegmentCheck(LAYOUT, ParquetCodec(), (), 60.0)


class File(msgspec.Struct, frozen=True):
    """A segment and what an ordinary reader sees in it."""

    body: bytes
    entry: SegmentEntry
    table: pa.Table
    columns: dict[str, list[Any]]
    chunks: dict[str, Chunk]

    def pages(self, column: str) -> list[Page]:
        return pages_of(self.body, self.chunks[column])

    def body_of(self, page: Page) -> range:
        """The bytes of a page behind its header."""
        return range(read_struct(self.body, page.start)[1], page.end)


@pytest.fixture(scope="module")
def file() -> File:
    rows = [
        Row(n, event, Outcome.RECORDED) if n % 4 else Row(n, event, Outcome.DUPLICATE, f"w{n // 100}")
        for n, event in enumerate(arrivals(ROWS))
    ]
    body = ParquetCodec().encode(HEAD, rows)
    entry = describe_rows(
        HEAD, rows, key=KEY, sha256=sha256(body).hexdigest(), size=len(body), known_from=START
    )
    table = ordinary_reader(body)
    assert table is not None
    chunks = {chunk.column: chunk for chunk in chunks_of(body)}
    return File(body, entry, table, {name: values(table, name) for name in SCHEMA.names}, chunks)


def ordinary_reader(body: bytes) -> pa.Table | None:
    try:
        table = pq.read_table(pa.BufferReader(body), page_checksum_verification=False)
        return table if table.schema.names == SCHEMA.names and len(table) == ROWS else None
    except (pa.ArrowException, OSError, ValueError):
        return None


def values(table: pa.Table, name: str) -> list[Any]:
    column = table.column(name)
    text = pa.types.is_string(column.type)
    return list(column.cast(pa.binary() if text else pa.int64()).to_pylist())


def harmed(file: File, body: bytes) -> set[tuple[str, int]]:
    """Cells that an ordinary reader sees changed. No text where there was an empty one is no change."""
    table = ordinary_reader(body)
    if table is None:
        return set()
    return {
        (name, place)
        for name in SCHEMA.names
        if not table.column(name).equals(file.table.column(name))
        for place, (before, now) in enumerate(zip(file.columns[name], values(table, name), strict=True))
        if (before or None) != (now or None)
    }


def check(file: File, body: bytes) -> tuple[Finding, ...]:
    """The findings, of which one says that the object is not what was recorded."""
    findings = CHECK.check(KEY, body, START, Witness(None, file.entry)).findings
    (altered,) = [finding for finding in findings if finding.kind is Kind.OBJECT_ALTERED]
    assert (altered.object, altered.expected) == (KEY, file.entry.sha256)
    assert all(finding.object == KEY for finding in findings)
    return findings


def names(findings: tuple[Finding, ...], column: str, row: int) -> bool:
    return any(
        finding.rows is not None
        and finding.rows.first <= row <= finding.rows.last
        and (column in finding.columns or not finding.columns)
        for finding in findings
    )


def flipped(body: bytes, position: int, random: Random) -> bytes:
    damaged = bytearray(body)
    damaged[position] ^= 1 << random.randrange(8)
    return bytes(damaged)


def test_a_whole_segment_has_no_findings(file: File) -> None:
    assert CHECK.check(KEY, file.body, START, Witness(None, file.entry)).findings == ()


def test_the_pages_of_a_file_are_found_without_a_parquet_library(file: File) -> None:
    """Checked against pyarrow's own word on each column chunk."""
    footer = pq.ParquetFile(pa.BufferReader(file.body)).metadata.row_group(0)
    for index, name in enumerate(SCHEMA.names):
        theirs, ours = footer.column(index), file.chunks[name]
        start = theirs.dictionary_page_offset or theirs.data_page_offset
        assert (ours.start, ours.end, ours.rows) == (start, start + theirs.total_compressed_size, ROWS)
        pages = file.pages(name)
        assert [page.rows for page in pages if not page.dictionary] == [500, 500, 300]
        assert all(page.whole for page in pages)
        assert pages[0].dictionary == theirs.has_dictionary_page
        assert [page.start for page in pages] == [ours.start, *(page.end for page in pages[:-1])]


@pytest.mark.parametrize("column", SCHEMA.names)
def test_a_page_is_taken_out_and_the_others_are_still_read(file: File, column: str) -> None:
    pages = [page for page in file.pages(column) if not page.dictionary]
    body = without(file.body, [pages[1]])
    table = pq.ParquetFile(pa.BufferReader(body), page_checksum_verification=True).read_row_group(
        0, columns=[column]
    )
    assert values(table, column) == file.columns[column][:500] + file.columns[column][1000:]


@pytest.mark.parametrize("column", SCHEMA.names)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_flipped_byte_in_a_page_of_data(file: File, column: str, number: int) -> None:
    random = Random(f"{column}{number}")
    page = [page for page in file.pages(column) if not page.dictionary][number]
    rows = range(number * 500, min(number * 500 + 500, ROWS))
    for position in random.sample(file.body_of(page), min(4, len(file.body_of(page)))):
        body = flipped(file.body, position, random)
        findings = check(file, body)
        wrong = harmed(file, body)
        assert {(name, row) for name, row in wrong if name != column or row not in rows} == set()
        placed = [finding for finding in findings if finding.rows is not None]
        if wrong:
            assert all(names(findings, *cell) for cell in wrong)
        else:  # unreadable, or its values are still the same
            assert all(names(findings, column, row) for row in rows)
        # no row of another page is accused
        for finding in placed:
            assert finding.rows is not None
            assert (finding.rows.first in rows, finding.rows.last in rows) == (True, True)
        # and where the values can be read and their hashes cover them, no row is but the wrong ones
        if wrong and column in COVERED and {f.kind for f in placed} == {Kind.ROW_ALTERED}:
            assert {f.rows.first for f in placed if f.rows} <= {row for _, row in wrong}


@pytest.mark.parametrize("column", SCHEMA.names)
def test_a_flipped_byte_in_a_page_header_or_a_dictionary(file: File, column: str) -> None:
    random = Random(column)
    for page in file.pages(column):
        header = range(page.start, file.body_of(page).start)
        positions = [*random.sample(header, 3), *header[:5]]
        if page.dictionary:
            positions += random.choices(file.body_of(page), k=3)
        for position in positions:
            body = flipped(file.body, position, random)
            findings = check(file, body)
            assert all(names(findings, *cell) for cell in harmed(file, body)), position


@pytest.mark.parametrize("region", ["magic", "bloom filters", "footer", "footer's length"])
def test_a_flipped_byte_outside_the_pages(file: File, region: str) -> None:
    random = Random(region)
    end = max(chunk.end for chunk in file.chunks.values())
    size = len(file.body)
    footer = size - 8 - int.from_bytes(file.body[-8:-4], "little")
    positions = {
        "magic": [*range(4), *range(size - 4, size)],
        "bloom filters": random.sample(range(end, footer), 10),
        "footer": random.sample(range(footer, size - 8), 60),
        "footer's length": [*range(size - 8, size - 4)],
    }[region]
    for position in positions:
        body = flipped(file.body, position, random)
        findings = check(file, body)
        if ordinary_reader(body) is None and region != "footer":
            assert any(finding.kind is Kind.UNREADABLE for finding in findings)
        assert all(names(findings, *cell) for cell in harmed(file, body)), position
        if region == "bloom filters":
            assert [finding.message for finding in findings] == [
                "the object's bytes are not those of its manifest row; every row in it is as it was written"
            ]


def test_all_other_rows_are_verified_where_one_page_cannot_be_read(file: File) -> None:
    """Two rows are forged and another column's page is destroyed: all three are named."""
    head, rows = ParquetCodec().decode(file.body)
    for n in (3, 1_250):
        rows[n] = msgspec.structs.replace(
            rows[n], arrival=msgspec.structs.replace(rows[n].arrival, entity_id="forged")
        )
    body = bytearray(ParquetCodec().encode(head, rows))
    (chunk,) = [chunk for chunk in chunks_of(bytes(body)) if chunk.column == "received_time"]
    page = pages_of(bytes(body), chunk)[1]
    body[page.start : page.end] = bytes(page.end - page.start)
    findings = check(file, bytes(body))
    assert {(f.kind, str(f.rows), f.columns[-1]) for f in findings if f.rows} == {
        (Kind.UNREADABLE, "rows 500–999", "received_time"),
        (Kind.ROW_ALTERED, "row 3", "fingerprint" if rows[3].arrival.idempotency_key else "event_time_rest"),
        (Kind.ROW_ALTERED, "row 1250", "fingerprint"),
    }


def salvaged(file: File, values: dict[tuple[str, int], Any], *stretches: Stretch) -> list[Finding]:
    """The findings of a file of which this was read."""
    columns = {
        name: [v.decode() if isinstance(v, bytes) and name != "data" else v for v in column]
        for name, column in file.columns.items()
    }
    for (name, place), value in values.items():
        columns[name][place] = value
    return list(CHECK.in_salvage(KEY, Salvage(HEAD, ROWS, columns, stretches)))


def test_a_column_that_its_hashes_cover_is_not_cleared_where_they_could_not_be_recomputed(file: File) -> None:
    """Pages of long payloads hold fewer rows than those of other columns."""
    gap = {("data", place): UNREAD for place in range(100, 200)}
    changed = {("entity_id", 3): "forged", ("entity_id", 120): "forged"}
    entities = Stretch("entity_id", 0, 499, readable=True)
    findings = salvaged(file, changed | gap, entities, Stretch("data", 100, 199, readable=False))
    assert (Kind.PAGE_ALTERED, "rows 0–499") in {(f.kind, str(f.rows)) for f in findings}
    findings = salvaged(file, changed, entities)
    assert {(f.kind, str(f.rows)) for f in findings} == {
        (Kind.ROW_ALTERED, "row 3"),
        (Kind.ROW_ALTERED, "row 120"),
    }


def test_a_column_that_no_hash_covers_is_not_cleared_by_one_value_that_is_plainly_wrong(file: File) -> None:
    for name, wrong in (("outcome", "WON"), ("winner", UNREAD)):
        findings = salvaged(file, {(name, 7): wrong}, Stretch(name, 0, 499, readable=True))
        assert (Kind.PAGE_ALTERED, "rows 0–499") in {(f.kind, str(f.rows)) for f in findings}


def test_bytes_that_are_no_text_name_their_row_alone(file: File) -> None:
    page, row = (
        Stretch("idempotency_key", 0, 499, readable=True),
        Stretch("idempotency_key", 7, 7, readable=False),
    )
    (finding,) = salvaged(file, {("idempotency_key", 7): UNREAD}, page, row)
    assert (finding.kind, str(finding.rows)) == (Kind.UNREADABLE, "row 7")


def test_pages_that_differ_between_two_files_of_one_layout(file: File) -> None:
    random = Random(5)
    pages = file.pages("entity_id")
    for page, expected in ((pages[0], (0, ROWS - 1)), (pages[2], (500, 999))):
        other = flipped(file.body, file.body_of(page)[3], random)
        assert changed_stretches(file.body, other) == [Stretch("entity_id", *expected, readable=True)]
    assert changed_stretches(file.body, file.body) == []
    assert changed_stretches(file.body, file.body[:-1]) == []


def test_a_page_whose_size_is_wrong_does_not_hide_the_next(file: File) -> None:
    """The third number in a page header is the size of the body."""
    for number in (0, 1):
        page = [page for page in file.pages("data") if not page.dictionary][number]
        size = page.start + 3
        while file.body[size - 1] >= 0x80 or size == page.start + 3:
            size += 1
        for position in (size + 1, size + 2):
            for bit in range(7):
                damaged = bytearray(file.body)
                damaged[position] ^= 1 << bit
                spans = {str(f.rows) for f in check(file, bytes(damaged)) if f.rows}
                assert spans == {f"rows {number * 500}–{number * 500 + 499}"}


def test_two_pages_without_headers_leave_what_lies_before_and_behind_them(file: File) -> None:
    rows = [Row(n, event, Outcome.RECORDED) for n, event in enumerate(arrivals(2_300))]
    body = bytearray(ParquetCodec().encode(HEAD, rows))
    (chunk,) = [chunk for chunk in chunks_of(bytes(body)) if chunk.column == "data"]
    pages = pages_of(bytes(body), chunk)
    for number in (1, 3):
        body[pages[number].start : pages[number].start + 16] = bytes(16)
    placed = [(f.kind, str(f.rows), f.columns) for f in check(file, bytes(body)) if f.rows]
    # where the page between them lies is not known any more
    assert placed == [(Kind.UNREADABLE, "rows 500–1999", ("data",))]


def test_a_footer_never_leads_out_of_its_file(file: File) -> None:
    random = Random(9)
    footer = len(file.body) - 8 - int.from_bytes(file.body[-8:-4], "little")
    for position in range(footer, len(file.body) - 8, 5):
        body = flipped(file.body, position, random)
        try:
            chunks = chunks_of(body)
        except ValueError:
            continue
        assert all(0 <= chunk.start <= chunk.end <= len(body) for chunk in chunks)
        assert all(0 <= chunk.rows <= len(body) for chunk in chunks)


def test_a_segment_cut_short_or_emptied(file: File) -> None:
    for body in (b"", file.body[:3], file.body[:-1], file.body[: len(file.body) // 2], b"PAR1" * 3):
        (unreadable,) = [f for f in check(file, body) if f.kind is Kind.UNREADABLE]
        assert (unreadable.rows.first, unreadable.rows.last) == (0, ROWS - 1) if unreadable.rows else False


def test_a_segment_that_was_rewritten_consistently_is_found_by_its_hash_alone(file: File) -> None:
    """Nothing in it contradicts itself, so that no single row can be named."""
    rows = [Row(n, event, Outcome.RECORDED) for n, event in enumerate(arrivals(ROWS, seed=8))]
    findings = check(file, ParquetCodec().encode(HEAD, rows))
    (rewritten,) = [f for f in findings if f.kind is Kind.PAGE_ALTERED]
    assert str(rewritten.rows) == f"rows 0–{ROWS - 1}"


@pytest.mark.parametrize(
    ("column", "forge"),
    [
        ("outcome", lambda values: [*values[:-1], "WON"]),
        ("ingest_time", lambda values: [values[0] + 1, *values[1:]]),
    ],
)
def test_values_that_no_writer_writes(
    file: File, column: str, forge: Callable[[list[Any]], list[Any]]
) -> None:
    table = pq.read_table(pa.BufferReader(file.body))
    index = SCHEMA.names.index(column)
    forged = [v.decode() if isinstance(v, bytes) else v for v in file.columns[column]]
    array = pa.array(forge(forged)).cast(SCHEMA.field(column).type)
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(index, SCHEMA.field(column), array), sink, compression="zstd")
    findings = check(file, sink.getvalue().to_pybytes())
    (row,) = [f for f in findings if f.kind is Kind.ROW_ALTERED]
    assert row.columns == (column,)
    assert str(row.rows) in ("row 0", f"row {ROWS - 1}")
