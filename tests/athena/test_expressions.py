"""A table of expressions that both engines compute: they agree on every event, group and digit."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlglot

from aggregate.questions import definition
from athena import expressions
from athena.worlds import both
from pik.domain.errors import NotSupported
from pik.execution.aggregate.differences import rows_of
from pik.planning.aggregate_sql import query_of
from pik.planning.definitions import Definition
from pik.planning.trino.query import TrinoQuery, check
from pik.planning.trino.scope import Scope
from reading.streams import START, World, after, arrival, rows, world

END = after(3600)


def pieces(texts: tuple[str, ...], size: int) -> list[tuple[str, ...]]:
    return [texts[at : at + size] for at in range(0, len(texts), size)]


async def of_events(folder: Path) -> World:
    made = await world(folder)
    arrivals = [
        arrival(
            f"k{n}",
            after(n * 1.5),
            data.encode(),
            entity_id=f"entity {n % 2}",
            received_time=after(n) if n % 3 else None,
        )
        for n, data in enumerate(expressions.EVENTS * 3)
    ]
    await made.land(rows(arrivals), at=START)
    made.clock.advance(60)
    return made


@pytest.mark.parametrize("conditions", pieces(expressions.CONDITIONS, 15))
async def test_conditions(tmp_path: Path, conditions: tuple[str, ...]) -> None:
    """Each as a group beside the event's id."""
    made = await of_events(tmp_path)
    groups = tuple(text for text in conditions if text not in ("true", "NOT true"))
    found = await both(made, definition(START, END, group_by=("event_id", *groups)), tmp_path)
    assert found.record.row_count == found.record.input_count == 27


@pytest.mark.parametrize("condition", expressions.CONDITIONS[::6])
async def test_what_is_left_out(tmp_path: Path, condition: str) -> None:
    made = await of_events(tmp_path)
    await both(made, definition(START, END, where=condition), tmp_path)


@pytest.mark.parametrize("group", pieces(expressions.GROUPS, 3))
async def test_groups(tmp_path: Path, group: tuple[str, ...]) -> None:
    made = await of_events(tmp_path)
    await both(made, definition(START, END, group_by=group), tmp_path)


@pytest.mark.parametrize("group_by", [(), ("payload.b",), ("payload.s", "payload.n")])
async def test_measures(tmp_path: Path, group_by: tuple[str, ...]) -> None:
    made = await of_events(tmp_path)
    for measures in pieces(expressions.MEASURES, 32):
        named = [(f"m{n}", text) for n, text in enumerate(measures)]
        await both(made, definition(START, END, *named, group_by=group_by), tmp_path)


@pytest.mark.parametrize("condition", expressions.UNSUPPORTED)
def test_a_condition_without_a_common_form_is_refused(condition: str) -> None:
    refuses(definition(START, END, where=condition))


@pytest.mark.parametrize("measure", expressions.UNSUPPORTED_MEASURES)
def test_a_measure_without_a_common_form_is_refused(measure: str) -> None:
    refuses(definition(START, END, ("m", measure)))


def refuses(asked: Definition) -> None:
    query = query_of(asked)  # DuckDB computes it
    with pytest.raises(NotSupported) as raised:
        check(query)
    assert "engine: DuckDB" in str(raised.value)


async def test_a_number_has_the_places_that_it_needs_however_it_is_written(tmp_path: Path) -> None:
    """Beside a long number, for which DuckDB reads a payload's numbers digit by digit, too."""
    made = await world(tmp_path)
    texts = (b'{"n": 10e-1}', b'{"n": 200e-2, "long": 0.1234567890123456789}', b'{"n": 0e-9, "long": 1e300}')
    await made.land(rows([arrival(f"k{n}", after(n), text) for n, text in enumerate(texts)]), at=START)
    made.clock.advance(60)
    found = await both(made, definition(START, END, ("n", "sum(payload.n)")), tmp_path)
    kept = await rows_of(made.stream, found)
    assert (kept["n"].type.scale, kept["n"].to_pylist()) == (0, [3])


def test_all_of_it_is_trinos_syntax() -> None:
    """As far as a parser of its dialect can tell; functions are looked at in `test_words`."""
    for conditions in pieces(expressions.CONDITIONS, 15):
        groups = tuple(text for text in conditions if text not in ("true", "NOT true"))
        measures = [(f"m{n}", text) for n, text in enumerate(expressions.MEASURES[:32])]
        query = query_of(definition(START, END, *measures, group_by=groups, where=conditions[0]))
        asked = TrinoQuery(query, Scope.nothing())
        scales = dict.fromkeys(query.numbers, 3)
        for result in (asked.census(), asked.survey(), asked.inputs(scales, ()), asked.rows(scales, ())[0]):
            (tree,) = sqlglot.parse(result.sql, dialect="trino", error_level=sqlglot.ErrorLevel.RAISE)
            assert tree is not None
