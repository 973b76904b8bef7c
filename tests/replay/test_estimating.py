"""An estimate bounds what the exact dry run counts, and asks for no object."""

from __future__ import annotations

from pathlib import Path

import pytest

from pik.domain.errors import NotReady
from pik.execution.replay.dry_run import dry_run
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.estimating import estimate
from pik.execution.stream import Deduplication
from pik.planning.expressions import parse_condition
from reading.histories import captured, history, recorded
from reading.streams import after
from replay.slices import run_of, spec

HALF = {"from": after(3_600).text, "to": after(3 * 3_600).text}
ALL = {"from": after(-10 * 3_600).text, "to": after(20 * 3_600).text}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("deduplication", list(Deduplication))
@pytest.mark.parametrize(
    "select",
    [{"window": ALL}, {"window": HALF}, {"window": HALF, "sources": ["s1"]}, {"window": ALL, "limit": 7}],
)
async def test_the_count_lies_within_the_bounds(
    tmp_path: Path, seed: int, deduplication: Deduplication, select: dict[str, object]
) -> None:
    make = captured if deduplication is Deduplication.ON_WRITE else recorded
    made, snapshot = await make(tmp_path, history(seed))
    what = spec(select=select)
    selector = DuckDBSelector(made.stream, parse_condition)
    plan = await dry_run(made.stream, snapshot, what, run_of(made.stream), selector)
    before = dict(made.bucket.objects)
    made.bucket.objects.clear()  # it needs none of them
    found = await estimate(made.stream, what)
    made.bucket.objects.update(before)
    assert found.least <= plan.measure.matched <= found.most
    assert found.segments <= len(snapshot.segments)
    if select == {"window": ALL} and deduplication is Deduplication.ON_WRITE:
        assert found.least == plan.measure.matched  # each of its segments lies in it as a whole


async def test_while_the_index_is_rebuilt_there_is_no_estimate(tmp_path: Path) -> None:
    made, _ = await captured(tmp_path, history(0))
    await made.stream.index.fence(2, "another")
    with pytest.raises(NotReady):
        await estimate(made.stream, spec())
    await made.ready()
    assert (await estimate(made.stream, spec())).segments > 0
