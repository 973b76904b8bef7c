"""A snapshot's segments as local files."""

from __future__ import annotations

from pathlib import Path

from pik.execution.reading.snapshot import Snapshot
from pik.execution.stream import Stream


async def local_files(stream: Stream, snapshot: Snapshot) -> list[Path]:
    """Files of the snapshot's segments, without the voids; their bytes have the manifest's SHA-256.

    Raises `Tampered` and `Incomplete`, naming the object.
    """
    return await stream.files.fetch([entry for entry in snapshot.segments if entry.rows])
