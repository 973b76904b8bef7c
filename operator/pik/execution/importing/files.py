"""Files of events: which format they are in, their bytes without compression, their lines."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path, PurePath
from typing import IO, cast

from pik.domain.errors import UnreadableFile

BOM = b"\xef\xbb\xbf"
_BUFFER = 1 << 20
_ENCRYPTED = 1  # bit of a zip member's flags


DEFAULT_NULLS = frozenset({""})
"""Cells of a CSV file that stand for nothing. `NA` is one only where it is said: it is Namibia too."""


class FileFormat(StrEnum):
    CSV = "CSV"
    NDJSON = "NDJSON"
    PARQUET = "Parquet"


_SUFFIXES = {
    ".csv": FileFormat.CSV,
    ".ndjson": FileFormat.NDJSON,
    ".jsonl": FileFormat.NDJSON,
    ".parquet": FileFormat.PARQUET,
}


def format_of(name: str) -> FileFormat:
    """By the name's ending, without `.gz`. Raises `UnreadableFile`."""
    suffix = PurePath(name.lower().removesuffix(".gz")).suffix
    if suffix not in _SUFFIXES:
        raise UnreadableFile(
            f"{name} is not a .csv, .ndjson, .jsonl or .parquet file, nor such a .gz or .zip"
        )
    return _SUFFIXES[suffix]


@contextmanager
def open_lines(path: Path) -> Iterator[tuple[IO[bytes], FileFormat]]:
    """The bytes of a CSV or NDJSON file, of a `.gz`, or of the only file in a `.zip`, and their format.

    Raises `UnreadableFile`.
    """
    suffix = path.suffix.lower()
    if suffix == ".gz":
        with gzip.open(path) as compressed:
            yield cast("IO[bytes]", compressed), format_of(path.name)
        return
    if suffix != ".zip":
        with path.open("rb", _BUFFER) as plain:
            yield plain, format_of(path.name)
        return
    with zipfile.ZipFile(path) as archive:
        members = [
            info
            for info in archive.infolist()
            if not info.is_dir() and not info.filename.startswith("__MACOSX/")
        ]
        if len(members) != 1:
            raise UnreadableFile(f"it holds {len(members)} files; exactly one can be read")
        [member] = members
        if member.flag_bits & _ENCRYPTED:
            raise UnreadableFile("it is encrypted")
        with archive.open(member) as file:
            # a member reads lines slowly by itself
            yield io.BufferedReader(cast("io.RawIOBase", file), _BUFFER), format_of(member.filename)


def lines_of(file: IO[bytes], limit: int) -> Iterator[tuple[bytes, bool]]:
    """Each line with its end, and whether it is whole: of a longer one than `limit` bytes come only those,
    and the rest is passed over. A byte order mark at the file's start is left out.

    Raises `UnreadableFile` for UTF-16 and UTF-32.
    """
    line = file.readline(limit)
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableFile("it is in UTF-16 or UTF-32; UTF-8 is read")
    line = line.removeprefix(BOM)
    while line:
        whole = len(line) < limit or line.endswith(b"\n")
        rest = b"" if whole else file.readline(limit)
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(limit)
        yield line, whole
        line = file.readline(limit)
