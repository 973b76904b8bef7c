"""Shapes of payloads: told apart by paths and types alone, counted, bounded, and true of what was seen."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.layout import segment_id
from pik.domain.segments import SegmentHead
from pik.domain.shapes import LOOKED_AT, MAX_SHAPES, Kind, Shapes, read_shapes, shapes_of, together
from pik.execution.parquet import ParquetCodec
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.stream import Deduplication
from pik.planning.replay.plan import ReplayPlan, verify_plan
from reading.streams import START, after, arrival, rows, world
from replay.slices import begin, spec


def shape(payload: str) -> str:
    [kind] = shapes_of(["t"], [payload.encode()], ["id"]).kinds
    return kind.shape


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a":1,"b":"x"}', '{"b": "", "a": 1.5e3}', True),
        ('{"a":1}', '{"a":"1"}', False),
        ('{"a":1}', '{"a":1,"b":null}', True),
        ('{"a":1}', '{"a":1,"b":{}}', False),
        ('{"a":[1,2]}', '{"a":[3]}', True),
        ('{"a":[1,"x"]}', '{"a":["y",2,2]}', True),
        ('{"a":[1]}', '{"a":[]}', False),
        ('{"a":[{"b":1}]}', '{"a":[{"b":2},{"b":3}]}', True),
        ('{"a":{"b":1}}', '{"a.b":1}', False),
        ('{"a":{"[]":1}}', '{"a":[1]}', False),
        ("1", "2.0", True),
        ("true", "1", False),
        ("null", "{}", False),
    ],
)
def test_paths_and_types_make_a_shape(one: str, other: str, same: bool) -> None:
    assert (shape(one) == shape(other)) is same


def paths(value: Any, at: tuple[str, ...] = ()) -> set[tuple[tuple[str, ...], str]]:
    """The same by another way: one value after the other."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    found = set() if value is None else {(at, names[type(value)])}
    if isinstance(value, dict):
        found |= {path for name, inner in value.items() for path in paths(inner, (*at, f".{name}"))}
    if isinstance(value, list):
        found |= {path for inner in value for path in paths(inner, (*at, "[]"))}
    return found


VALUES = st.recursive(
    st.sampled_from([None, True, 1, 2, 1.5, "a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "[]"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.lists(VALUES, min_size=1, max_size=12))
def test_shapes_are_those_of_a_reader(values: list[Any]) -> None:
    found = shapes_of(["t"] * len(values), [json.dumps(v).encode() for v in values], list(map(str, values)))
    assert sum(kind.rows for kind in found.kinds) == len(values)
    assert len(found.kinds) == len({frozenset(paths(value)) for value in values})
    assert found.complete


def test_what_is_said_of_a_large_segment_says_how_much_was_seen() -> None:
    count = 10 * LOOKED_AT
    types = ["a" if n < count // 2 else "b" for n in range(count)]
    found = shapes_of(types, [b'{"n":1}'] * count, [str(n) for n in range(count)])
    assert (found.rows, found.looked_at, found.complete) == (count, LOOKED_AT, False)
    assert [(kind.event_type, kind.rows) for kind in found.kinds] == [("a", 32), ("b", 32)]


def test_there_are_no_more_than_can_be_named() -> None:
    payloads = [b'{"f%d":1}' % (n % 20) for n in range(40)]
    found = shapes_of(["t"] * 40, payloads, [str(n) for n in range(40)])
    assert (len(found.kinds), found.cut, found.complete) == (MAX_SHAPES, True, False)
    several = together([found, Shapes(5, 0, ()), found], ["t"], 3)
    assert (several.rows, several.looked_at, len(several.kinds), several.cut) == (85, 80, 3, True)
    assert several.kinds[0].rows == 4
    assert together([found], ["other"], 3).kinds == ()


def test_a_segment_without_a_word_on_shapes_is_read_all_the_same() -> None:
    head = SegmentHead("stream1", segment_id(START, "0" * 20, 1), START)
    body = ParquetCodec().encode(head, [Row(0, arrival("a"), Outcome.ACCEPTED)])
    table = pq.read_table(io.BytesIO(body))
    metadata = dict(table.schema.metadata)
    assert read_shapes(metadata, 1).complete
    for said in (None, b"{", b"[]"):
        old = {key: value for key, value in metadata.items() if key != b"pik.shapes"}
        if said is not None:
            old[b"pik.shapes"] = said
        out = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(old), out)
        assert ParquetCodec().decode(out.getvalue())[0] == head
        assert read_shapes(old, 1) == Shapes(1, 0, ())


@pytest.mark.parametrize("deduplication", Deduplication)
async def test_a_dry_run_lists_the_shapes_of_its_segments(
    tmp_path: Path, deduplication: Deduplication
) -> None:
    made = await world(tmp_path, deduplication)
    outcome = Outcome.ACCEPTED if deduplication is Deduplication.ON_WRITE else Outcome.RECORDED

    def arrivals(first: int, payload: bytes, event_type: str = "reading") -> list[Arrival]:
        return [arrival(f"k{first + n}", after(first + n), payload, event_type=event_type) for n in range(3)]

    old, new, other = arrivals(0, b'{"v":1}'), arrivals(10, b'{"v":"1"}'), arrivals(20, b"[]", "note")
    await made.land(rows([*old, *new[:1]], outcome), at=after(-60))
    await made.land(rows([*new[1:], *other], outcome), at=after(-59))
    selector = DuckDBSelector(made.stream, str)
    plan = await begin(made.stream, selector, spec(select={"eventTypes": ["reading"]}))
    assert plan.shapes is not None
    assert plan.shapes.complete
    assert [(kind.event_type, kind.rows) for kind in plan.shapes.kinds] == [("reading", 3), ("reading", 3)]
    examples = {kind.shape: kind.example for kind in plan.shapes.kinds}
    assert examples == {shape('{"v":1}'): old[0].event_id, shape('{"v":"1"}'): new[0].event_id}
    measured = await selector.measure(spec(), (await take_snapshot(made.stream, now=START)).segments)
    assert measured.shapes is not None
    assert len(measured.shapes.kinds) == 3
    # it is no part of what a plan is known by
    text = msgspec.json.encode(msgspec.structs.replace(plan, shapes=None))
    assert verify_plan(msgspec.json.decode(text, type=ReplayPlan))


def test_kinds_are_bounded_values() -> None:
    kind = Kind("t", shape("{}"), 1, "0" * 64)
    assert len(kind.shape) == 16
