"""A request's events as they are cut to fit into segments."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.domain.arrivals import Arrival, size_of
from pik.domain.columns import columns_of
from pik.execution.capture.answers import Parcel, Request, parcel
from simulation.capture_scenario import arrival


def cut(whole: Parcel, rows: int, size: int) -> list[Parcel]:
    found: list[Parcel] = []
    rest: Parcel | None = whole
    while rest is not None:
        first, rest = rest.cut(rows, size)
        found.append(first)
    return found


@pytest.mark.parametrize("in_columns", [True, False])
@given(
    st.lists(st.tuples(st.integers(0, 300), st.none() | st.text(max_size=5)), min_size=1, max_size=8),
    st.integers(1, 9),
    st.integers(1, 3_000),
)
def test_parts_fit_are_not_empty_and_are_the_whole(
    in_columns: bool, made: list[tuple[int, str | None]], rows: int, size: int
) -> None:
    arrivals: list[Arrival] = [
        msgspec.structs.replace(arrival(n, 0), data=b"x" * length, idempotency_key=key)
        for n, (length, key) in enumerate(made)
    ]
    loop = asyncio.new_event_loop()
    request = Request([None] * len(arrivals), len(arrivals), loop.create_future())
    whole = parcel(columns_of(arrivals) if in_columns else arrivals, request, range(len(arrivals)))
    parts = cut(whole, rows, size)
    loop.close()
    assert [n for part in parts for n in part.positions] == list(range(len(arrivals)))
    for part in parts:
        sizes = [size_of(arrivals[n]) for n in part.positions]
        assert 0 < part.events == len(sizes) <= rows
        assert part.size == sum(sizes)
        assert sum(sizes[:-1]) < size
