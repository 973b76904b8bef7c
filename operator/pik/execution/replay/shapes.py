"""Of which shapes the payloads of a slice's segments are, by what their files say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from pik.domain.segments import SegmentEntry
from pik.domain.shapes import Shapes, read_shapes, together

_MOST_FILES = 1_000  # of which the footer is read: a fraction of a millisecond each
_MOST_SHAPES = 20


def shapes_in(
    event_types: Sequence[str] | None, entries: Sequence[SegmentEntry], files: Sequence[Path]
) -> Shapes:
    """Of these event types (None: of all). `files`: those of the segments, and perhaps of others. Of very
    many segments some are asked, evenly spread; of the others nothing is known."""
    paths = {path.stem: path for path in files}
    every = -(-len(entries) // _MOST_FILES) or 1
    return together(
        (
            _said_by(paths[str(entry.segment)], entry) if number % every == 0 else Shapes(entry.rows, 0, ())
            for number, entry in enumerate(entries)
        ),
        event_types,
        _MOST_SHAPES,
    )


def _said_by(path: Path, entry: SegmentEntry) -> Shapes:
    return read_shapes(pq.read_metadata(path).metadata, entry.rows)
