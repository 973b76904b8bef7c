"""Payloads' differences: none exactly where the canonical texts are equal, and each names its field."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pik.domain.differences import Difference, payload_differences
from pik.domain.identity import canonical

scalars = st.none() | st.booleans() | st.integers() | st.sampled_from(["", "1", "a", '"', "ü"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab."), inner),
    max_leaves=6,
)


@given(values, values)
def test_no_difference_is_equal_canonical_text(first: object, other: object) -> None:
    one, two = json.dumps(first).encode(), json.dumps(other, indent=1).encode()
    assert (payload_differences(one, two) == []) == (canonical(one) == canonical(two))
    swapped = [Difference(d.path, d.other, d.first) for d in payload_differences(two, one)]
    assert payload_differences(one, two) == swapped


def test_each_difference_names_its_field() -> None:
    first = b'{"temp": 39.02, "wind": {"dir": 270, "speed": 10.0}, "gone": null, "list": [1, 2], "a.b": 1}'
    other = b'{"wind": {"speed": 10.00, "dir": 270}, "temp": "39.02", "new": [], "list": [1, 3], "a.b": 2}'
    assert payload_differences(first, other) == [
        Difference('payload["a.b"]', "1", "2"),
        Difference("payload.gone", "null", None),
        Difference("payload.list[1]", "2", "3"),
        Difference("payload.new", None, "[]"),
        Difference("payload.temp", "39.02", '"39.02"'),
        Difference("payload.wind.speed", "10.0", "10.00"),
    ]


def test_excluded_fields_do_not_differ() -> None:
    assert payload_differences(b'{"at": 1, "b": {"c": 1}}', b'{"at": 2, "b": {}}', ["at", "b.c"]) == []


def test_lists_of_other_lengths_differ_as_a_whole() -> None:
    assert payload_differences(b"[1, 2]", b"[1]") == [Difference("payload", "[1,2]", "[1]")]


def test_a_name_that_stands_twice_is_two_fields() -> None:
    first, other = b'{"a": 1, "a": 2}', b'{"a": 3, "a": 2}'
    assert payload_differences(first, other) == [Difference("payload.a", "1", "3")]
    assert payload_differences(b'{"a": 2}', b'{"a": 2, "a": 2}') == [Difference("payload.a#2", None, "2")]
