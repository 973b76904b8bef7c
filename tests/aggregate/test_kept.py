"""Versions are kept for good: whole or not at all, and never overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregate.questions import EVERYTHING, aggregates, answer, kept, rows
from pik.domain.errors import (
    NoSuchObject,
    NotReproducible,
)
from pik.execution.aggregate.compute import PARQUET
from pik.execution.aggregate.records import read_answer, record_key, rows_key
from pik.execution.aggregate.tables import to_parquet
from reading.streams import START, arrival, world
from reading.streams import rows as as_rows


async def test_a_crash_before_the_record_leaves_nothing_that_counts(tmp_path: Path) -> None:
    made = await world(tmp_path)
    await made.land(as_rows([arrival("a")]), at=START)
    first = await answer(made, EVERYTHING)
    complete = aggregates(made)
    for lost in complete:
        if not lost.startswith("asked/"):
            del made.bucket.objects[made.stream.layout.aggregates + lost]
            if lost.endswith("version.json"):
                with pytest.raises(NoSuchObject):
                    await read_answer(made.stream, first.version)
            if "/inputs/" in lost:  # written before the record: both are missing after a crash
                del made.bucket.objects[record_key(made.stream, first.version)]
            assert await answer(made, EVERYTHING) == first
            assert aggregates(made) == complete


async def test_other_rows_under_the_same_name_are_reported_and_not_overwritten(tmp_path: Path) -> None:
    made = await world(tmp_path)
    await made.land(as_rows([arrival("a")]), at=START)
    found = await answer(made, EVERYTHING)
    key = rows_key(made.stream, found.version)
    table = await kept(made, found)
    other = table.set_column(1, "events", [[2]])
    del made.bucket.objects[key]
    await made.stream.objects.create(key, to_parquet(other), PARQUET)
    with pytest.raises(NotReproducible, match="other rows"):
        await answer(made, EVERYTHING)
    assert await rows(made, found) == [(2,)]


async def test_the_same_rows_in_other_bytes_are_the_same(tmp_path: Path) -> None:
    """Another release of the Parquet writer."""
    made = await world(tmp_path)
    await made.land(as_rows([arrival("a")]), at=START)
    found = await answer(made, EVERYTHING)
    key = rows_key(made.stream, found.version)
    again = to_parquet((await kept(made, found)).replace_schema_metadata({"by": "another"}))
    del made.bucket.objects[key]
    await made.stream.objects.create(key, again, PARQUET)
    assert await answer(made, EVERYTHING) == found
