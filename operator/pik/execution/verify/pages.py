"""The pages of a column chunk in a Parquet file, found also where some of them are damaged.

A page is the smallest part of a file that can be read by itself, and readers give up at the first one that
they cannot read. Here a page is taken out by writing over it the header of a kind of page that every reader
skips; what lies behind it can then be read. Structs and their fields: parquet.thrift.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from pik.execution.verify.thrift import read_struct

# PageHeader.type, and the field of PageHeader that describes a page of that type
_DATA, _INDEX, _DICTIONARY, _DATA_V2 = 0, 1, 2, 3
_DESCRIPTION = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
_SKIPPED_HEADER = 11  # bytes


class Page(msgspec.Struct, frozen=True, gc=False):
    """Bytes [start, end) of a file. `rows`: its values, one a row in a flat schema; 0 of a dictionary; None
    where the header cannot be read, and then these may be several pages. `whole`: its checksum holds."""

    start: int
    end: int
    rows: int | None
    whole: bool
    dictionary: bool = False


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """A column of a row group: bytes [start, end) of the file."""

    column: str
    group: int
    rows: int
    start: int
    end: int


def chunks_of(body: bytes) -> list[Chunk]:
    """The column chunks that the file's footer names. Raises ValueError where it cannot be read."""
    try:
        footer, _ = read_struct(body[-8 - int.from_bytes(body[-8:-4], "little") : -8], 0)
        chunks = []
        for number, group in enumerate(footer[4]):
            for column in group[1]:
                about = column[3]
                # the dictionary, where there is one, lies before the data
                start, size = about.get(11, about[9]), about[7]
                # each row has hashes that no compression makes smaller than a byte
                if not (0 <= start <= start + size <= len(body) and 0 <= group[3] <= len(body)):
                    raise ValueError("a column chunk larger than the file")
                name = b".".join(about[3]).decode()
                chunks.append(Chunk(name, number, group[3], start, start + size))
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a Parquet footer") from error
    return chunks


def pages_of(body: bytes, chunk: Chunk) -> list[Page]:
    """The pages of a column chunk, in order and without holes."""
    pages: list[Page] = []
    start, end = chunk.start, chunk.end
    while start < end:
        page = _page(body, start, end)
        if page is None or not (page.whole or page.end == end or _page(body, page.end, end)):
            # not a header, or one whose size leads nowhere: on to the next page whose checksum holds
            page = Page(start, _next_whole(body, start + _SKIPPED_HEADER, end), None, whole=False)
        pages.append(page)
        start = page.end
    return pages


def without(body: bytes, pages: Sequence[Page]) -> bytes:
    """The file with a page that readers skip in place of each of these."""
    patched = memoryview(bytearray(body))
    for page in pages:
        # type (1): an index page; sizes (2, 3); end. The third number has a fixed width, so that the size of
        # the header does not depend on the size of what it skips.
        size = (page.end - page.start - _SKIPPED_HEADER) << 1
        number = bytes([(size >> shift & 0x7F) | (0x80 if shift < 28 else 0) for shift in range(0, 35, 7)])
        header = b"\x15\x02\x15\x00\x15" + number + b"\x00"
        patched[page.start : page.start + _SKIPPED_HEADER] = header
    return bytes(patched)


def _page(body: bytes, start: int, end: int) -> Page | None:
    """The page whose header begins at `start`, if one does."""
    try:
        header, at = read_struct(body, start)
        dictionary = header[1] == _DICTIONARY
        size, checksum = header[3], header.get(4)
        rows = 0 if dictionary else header[_DESCRIPTION[header[1]]][1]
        if size < 0 or rows < 0 or at + size > end:
            return None
        whole = checksum is not None and zlib.crc32(body[at : at + size]) == checksum % 2**32
    except (IndexError, KeyError, TypeError, ValueError):
        return None  # not the fields, or not of the kinds, that a page header has
    return Page(start, at + size, rows, whole, dictionary)


def _next_whole(body: bytes, start: int, end: int) -> int:
    while (start := body.find(b"\x15", start, end)) >= 0:  # each header begins with its type
        page = _page(body, start, end)
        if page is not None and page.whole:
            return start
        start += 1
    return end
