"""What is read from a file: records, and batches of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from pik.domain.arrivals import Rejection
from pik.domain.intake import Decoded, Intake


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of a file. `line`: its first line, or its row in a Parquet file, from 1."""

    line: int
    intake: Intake
    original: bytes  # as it stands in the file; of a Parquet row a JSON text


class Reject(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A record that is not an event. Encoded as JSON it is a line of a file of rejects: `text` is the record
    as it stands in the file, or `base64` where that is not UTF-8."""

    file: str
    line: int
    reason: str
    message: str
    text: str | None = None
    base64: bytes | None = None  # msgspec writes bytes so


class Batch(msgspec.Struct, frozen=True):
    """Consecutive records of a file. `lines[i]` is where `events[i]` was read."""

    events: list[Decoded]
    lines: list[int]
    rejects: list[Reject]


def in_batches(records: Iterable[Record], file: str, rows: int, max_bytes: int) -> Iterator[Batch]:
    """Batches of at most so many records and, but for a single larger record, bytes of originals."""
    batch = Batch([], [], [])
    count = size = 0
    for record in records:
        if count and (count == rows or size + len(record.original) > max_bytes):
            yield batch
            batch = Batch([], [], [])
            count = size = 0
        count += 1
        size += len(record.original)
        if isinstance(record.intake, Decoded):
            batch.events.append(record.intake)
            batch.lines.append(record.line)
        else:
            batch.rejects.append(_reject(file, record, record.intake))
    if count:
        yield batch


def _reject(file: str, record: Record, rejection: Rejection) -> Reject:
    try:
        text, base64 = record.original.decode(), None
    except UnicodeDecodeError:
        text, base64 = None, record.original
    return Reject(file, record.line, rejection.reason, rejection.message, text, base64)
