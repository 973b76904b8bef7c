"""Objects that are read into a stream, and how far that is."""

from __future__ import annotations

import msgspec

from pik.execution.importing.files import FileFormat


class Objects(msgspec.Struct, frozen=True):
    """What is read. `name`: of the source; `reading`: how its objects become events, in few characters: read
    otherwise, an object is another one. `nulls`: cells of a CSV object that stand for nothing."""

    name: str
    reading: str
    prefix: str
    format: FileFormat
    gzipped: bool = False
    nulls: frozenset[str] = frozenset({""})


class Progress(msgspec.Struct, frozen=True):
    """`objects` were read whole, with so many `bytes`, `events` and `rejected` records; `pending` are still
    to be read."""

    objects: int = 0
    pending: int = 0
    bytes: int = 0
    events: int = 0
    rejected: int = 0
    last_key: str | None = None
