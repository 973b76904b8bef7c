"""Reading a file of events."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from pik.domain.errors import UnreadableFile
from pik.domain.intake import IntakeRules
from pik.execution.importing.csv_rows import read_csv
from pik.execution.importing.files import DEFAULT_NULLS, FileFormat, lines_of, open_lines
from pik.execution.importing.json_lines import read_json_lines
from pik.execution.importing.parquet_rows import read_parquet
from pik.execution.importing.records import Batch, Record, in_batches

_DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError)


def read_file(
    path: Path,
    rules: IntakeRules,
    *,
    nulls: frozenset[str] = DEFAULT_NULLS,
    rows: int = 10_000,
    max_bytes: int = 16_777_216,
) -> Iterator[Batch]:
    """The events of a `.csv`, `.ndjson`, `.jsonl` or `.parquet` file, and of the first three in a `.gz` or
    alone in a `.zip`, in batches of at most `rows` records and about `max_bytes`, in the order of the file.

    Nothing is held but the batch under way. Blocks; run each step through `Offload`. Raises `UnreadableFile`,
    before the first batch or where the damage is; the batches before it are good.
    """
    try:
        yield from in_batches(_records(path, rules, nulls), path.name, rows, max_bytes)
    except UnreadableFile as error:
        raise UnreadableFile(f"{path.name}: {error}") from error
    except _DAMAGED as error:
        raise UnreadableFile(f"{path.name}: cannot be read: {error}") from error


def _records(path: Path, rules: IntakeRules, nulls: frozenset[str]) -> Iterator[Record]:
    if path.suffix.lower() == ".parquet":
        yield from read_parquet(path, rules)
        return
    with open_lines(path) as (file, file_format):
        lines = lines_of(file, rules.max_batch_bytes)
        if file_format is FileFormat.CSV:
            yield from read_csv(lines, rules, nulls)
        elif file_format is FileFormat.NDJSON:
            yield from read_json_lines(lines, rules)
        else:
            raise UnreadableFile("a Parquet file is compressed within; unpack it")
