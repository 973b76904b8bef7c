"""Python on the pages runs, and reads what pik reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docs.pages import DOCS, PAGES, blocks
from pik.domain.arrivals import Outcome, Row
from pik.execution.stream import Deduplication
from reading.streams import World, after, arrival, rows, world


def copied(made: World, directory: Path) -> None:
    """The bucket as files, as a person would copy it."""
    for key, stored in made.bucket.objects.items():
        file = directory / key.removeprefix(made.stream.layout.prefix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(stored.body)


async def test_the_snippet_reads_the_events_of_a_stream_that_decides_on_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await world(tmp_path / "cache")
    first, second, late = arrival("one"), arrival("two"), arrival("three")
    before = await made.land(rows([first, second]), at=after(1))
    again = rows([first], Outcome.DUPLICATE, str(before.segment))
    conflict = arrival("two", data=b'{"n": 2}')
    await made.land([*again, Row(1, conflict, Outcome.CONFLICT, str(before.segment))], at=after(2))
    await made.ready()  # a new generation
    await made.land(rows([late]), at=after(3), generation=2)
    slept = arrival("four")
    await made.land(rows([slept]), at=after(2), generation=1, indexed=False)  # counts no more
    await made.land([], at=after(4), generation=2)  # a void
    copied(made, tmp_path / "copy")

    monkeypatch.chdir(tmp_path)
    told = run("storage.md")

    found = told["events"].select("event_id").fetchall()
    assert sorted(found) == sorted((each.event_id,) for each in (first, second, late))
    assert (slept.event_id,) not in found


async def test_the_other_query_reads_the_events_of_one_that_decides_on_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await world(tmp_path / "cache", Deduplication.ON_READ)
    first = arrival("one", data=b"1")
    await made.land(rows([arrival("one", data=b"2"), arrival("two")], Outcome.RECORDED), at=after(2))
    await made.land(rows([first], Outcome.RECORDED), at=after(1))
    copied(made, tmp_path / "copy")

    monkeypatch.chdir(tmp_path)
    told = run("storage.md")

    chosen = told["con"].sql(told["first"]).select("event_id", "data").fetchall()
    assert sorted(chosen) == sorted([(first.event_id, "1"), (arrival("two").event_id, "{}")])


def test_there_are_no_other_snippets() -> None:
    """One that is added is run here too."""
    assert {page.name for page in PAGES if blocks(page, "python")} == {"storage.md"}


def run(page: str) -> dict[str, Any]:
    """Runs a page's snippets, one after the other; returns their names."""
    names: dict[str, Any] = {}
    for block in blocks(DOCS / page, "python"):
        exec(compile(block.text, str(block), "exec"), names)  # noqa: S102 - that is what is tested
    return names
