"""Three in ten calls of Athena, Glue and S3 fail: the answer is DuckDB's all the same."""

from __future__ import annotations

from functools import partial
from itertools import count

import pytest

from aggregate.questions import answer
from athena.conftest import Emulated
from athena.worlds import engine_of
from faults.policy import sometimes
from faults.proxy import faulty
from pik.domain.errors import Unavailable
from pik.execution.aggregate.compute import compute
from pik.execution.aggregate.records import Answer
from pik.planning.definitions import Definition
from pik.planning.trino.tables import DATABASE, wanted_table
from reading.streams import START, after, arrival
from reading.streams import rows as as_rows

SHARE = 0.3


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_answer_is_the_same(emulated: Emulated, emulator: str, seed: int) -> None:
    """Tried again as the operator does, by another connection each time, as by another process."""
    made = emulated.world
    for part in range(3):
        events = [arrival(f"k{part}/{n}", after(n), b'{"x": %d.5}' % n) for n in range(400)]
        await made.land(as_rows(events), at=made.clock.now())
        made.clock.advance(60)
    asked = emulated.asking(
        START, after(1000), ("n", "count(*)"), ("mean", "avg(payload.x)"), where="payload.x > 7"
    )
    with faulty(emulator, sometimes(seed=seed, share=SHARE)) as proxy:
        found = await computed(emulated, proxy.endpoint, asked)
    assert proxy.failed > 3
    assert {entry.call.service for entry in proxy.log} == {"athena", "glue", "s3"}
    assert found.record.input_count == 3 * 393
    assert await answer(made, asked) == found
    kept = [key for key in await keys(emulated) if "-void" not in key and "summary" not in key]
    assert len(kept) == 5  # queries, each begun once; but for those whose answers were lost


async def computed(emulated: Emulated, endpoint: str, asked: Definition) -> Answer:
    stream = emulated.world.stream
    for number in count():
        queries, catalog = emulated.connect(endpoint)
        try:
            await catalog.ensure(DATABASE, emulated.table, wanted_table(emulated.bucket, stream.layout))
            return await compute(
                stream, asked, namespace="tests", name="version", engine_of=partial(engine_of, queries)
            )
        except Unavailable:
            assert number < 50
    raise AssertionError


async def keys(emulated: Emulated) -> list[str]:
    stream = emulated.world.stream
    return [info.key async for info in stream.objects.list(f"{stream.layout.aggregates}queries/")]
