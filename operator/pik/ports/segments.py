"""A segment's bytes and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pik.domain.arrivals import Row
from pik.domain.columns import Columns
from pik.domain.segments import SegmentEntry, SegmentHead


class SegmentFiles(Protocol):
    """Segments as local files, for engines that read Parquet."""

    @property
    def directory(self) -> Path | None:
        """Where to keep what is derived from them, for as long as it lasts. None: nothing is kept."""
        ...

    async def fetch(self, entries: Sequence[SegmentEntry]) -> list[Path]:
        """A readable file for each entry, in order, whose bytes have the entry's SHA-256.

        Raises `Tampered` (other bytes) and `Incomplete` (the object is gone); both name the object.
        """
        ...


class SegmentCodec(Protocol):
    """A segment's bytes. Deterministic: the same head and rows give the same bytes."""

    def encode(self, head: SegmentHead, rows: Sequence[Row]) -> bytes: ...

    def encode_columns(self, head: SegmentHead, arrivals: Columns) -> bytes:
        """The same of rows in this order of which nothing was decided: RECORDED or REPLAYED."""
        ...

    def decode(self, body: bytes) -> tuple[SegmentHead, list[Row]]:
        """Raises `Tampered` where the bytes are not a segment."""
        ...
