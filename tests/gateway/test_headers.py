"""Headers that a stream keeps: apart from the data, named by the owner, counting for nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import msgspec
import pyarrow.parquet as pq
import pytest

from functions.requests import EVENT, EVENTS
from gateway.asgi import call
from gateway.test_gateway import in_the_world, opened
from pik.domain.arrivals import Arrival, Outcome, Row, size_of
from pik.domain.columns import columns_of
from pik.domain.headers import MAX_HEADERS_BYTES, kept_headers, sent_headers
from pik.domain.intake import IntakeRules
from pik.domain.layout import segment_id
from pik.domain.segments import SegmentHead
from pik.execution.parquet import SCHEMA, ParquetCodec
from reading.streams import START, arrival
from simulation.capture_scenario import read_truth
from simulation.world import World

KEEPING = IntakeRules(headers=("traceparent", "x-tenant"))
SENT = {"content-type": "application/json", "X-Tenant": "a1", "authorization": "Bearer s", "x-other": "o"}
MANY = 12  # events of a body that is read in columns


def stored(world: World) -> list[Arrival]:
    return [row.arrival for _, row in read_truth(world).rows]


async def posted(rules: IntakeRules, body: object, headers: Mapping[str, str]) -> tuple[int, list[Arrival]]:
    world, gateway = await opened(rules)
    text = json.dumps(body, separators=(",", ":")).encode()
    response = await call(gateway, EVENTS, text, headers=dict(headers))
    return response.status, stored(world)


@in_the_world
async def test_what_the_owner_names_is_kept_and_nothing_else() -> None:
    batch = [{**EVENT, "entity_id": f"e{n}", "payload": {"n": n}} for n in range(MANY)]
    for body in (EVENT, batch, [*batch, {**EVENT, "payload": "odd"}, {"not": "one"}]):
        status, kept = await posted(KEEPING, body, SENT)
        assert status == 200
        assert {each.headers for each in kept} == {'{"x-tenant":"a1"}'}
        _, without = await posted(IntakeRules(), body, SENT)
        assert [msgspec.structs.replace(each, headers=None) for each in kept] == without


@in_the_world
async def test_no_such_header_is_none() -> None:
    _, kept = await posted(KEEPING, EVENT, {"content-type": "application/json"})
    assert [each.headers for each in kept] == [None]


@in_the_world
async def test_too_much_is_refused_and_nothing_taken() -> None:
    status, kept = await posted(KEEPING, EVENT, {**SENT, "traceparent": "x" * MAX_HEADERS_BYTES})
    assert (status, kept) == (413, [])


def test_several_of_a_name_are_one_and_what_is_no_value_is_none() -> None:
    given = [(b"X-Tenant", b" a"), (b"x-tenant", "ü".encode("latin-1")), (b"traceparent", b"a\x00b")]
    kept = kept_headers(given, KEEPING.headers)
    assert kept is not None
    assert sent_headers(kept, ["traceparent", "x-tenant"]) == [(b"x-tenant", b"a, \xfc")]
    assert sent_headers(None, ["x-tenant"]) == []


@pytest.mark.parametrize("headers", [None, '{"x-tenant":"a1"}'])
def test_a_segment_has_the_column_only_where_something_is_in_it(headers: str | None) -> None:
    head = SegmentHead("stream1", segment_id(START, "0" * 20, 1), START)
    given = [arrival("a"), msgspec.structs.replace(arrival("b"), headers=headers)]
    rows = [Row(n, each, Outcome.ACCEPTED) for n, each in enumerate(given)]
    body = ParquetCodec().encode(head, rows)
    names = pq.read_schema(io.BytesIO(body)).names
    assert names == SCHEMA.names + (["headers"] if headers else [])
    assert ParquetCodec().decode(body) == (head, rows)
    columns = columns_of(given)
    assert columns.arrivals() == given
    assert columns.size == sum(map(size_of, given)) == sum(columns.sizes())
