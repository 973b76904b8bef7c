"""Fingerprints, event ids and canonical texts: the laws, against the rfc8785 package and plain JSON."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
import rfc8785
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pik.domain.identity import canonical, event_id, fingerprint, join_escaped, shard_of
from pik.domain.instants import Instant, parse_instant

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
# U+007F, U+2028 and what lies beyond the basic plane are where JSON writers differ
ODD = st.text(st.sampled_from('\0\x01\x1f\x7f\x80"\\/\b\t\n\f\r\u2028\ue000\uffff\U0001f600é<>&'), max_size=8)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
INSTANT = st.builds(Instant, st.integers(0, 10**16), st.text("123456789", max_size=3))
NOON = parse_instant("2013-07-10T12:00:00Z")


@given(TEXT | ODD, TEXT | ODD)
def test_the_event_id_is_over_the_rfc_8785_form(source: str, key: str) -> None:
    by_key = rfc8785.dumps(["pik/1", "key", source, key])
    by_content = rfc8785.dumps(["pik/1", "content", source, key])
    assert event_id(source, key, "ignored") == sha256(by_key).hexdigest()
    assert event_id(source, None, key) == sha256(by_content).hexdigest()


def test_event_ids_do_not_change_between_versions() -> None:
    """Every id that was ever stored depends on these bytes."""
    print_ = fingerprint("flight", "N14228", NOON, b'{"delay":2}')
    assert print_ == sha256(b'["flight","N14228","2013-07-10T12:00:00.000000Z"]\n{"delay":2}').hexdigest()
    assert event_id("nyc", "UA/1545", print_) == sha256(b'["pik/1","key","nyc","UA/1545"]').hexdigest()


@given(TEXT, TEXT, TEXT, TEXT)
def test_event_ids_are_distinct(source: str, key: str, other_source: str, other_key: str) -> None:
    assume((source, key) != (other_source, other_key))
    assert event_id(source, key, "") != event_id(other_source, other_key, "")
    assert event_id(source, key, "") != event_id(source, None, key)


@given(TEXT, TEXT, INSTANT, VALUE, TEXT, TEXT, INSTANT, VALUE)
def test_fingerprints_are_stable_and_distinct(
    a_type: str,
    a_entity: str,
    a_time: Instant,
    a_value: Any,
    b_type: str,
    b_entity: str,
    b_time: Instant,
    b_value: Any,
) -> None:
    a = (a_type, a_entity, a_time, json.dumps(a_value).encode())
    b = (b_type, b_entity, b_time, json.dumps(b_value).encode())
    assert (fingerprint(*a) == fingerprint(*b)) == (a == b)


def test_one_instant_in_two_spellings_is_one_fingerprint() -> None:
    there = parse_instant("2013-07-10T08:00:00.000-04:00")
    assert fingerprint("t", "e", there, b"1") == fingerprint("t", "e", NOON, b"1")


def test_without_exclude_every_byte_counts() -> None:
    assert fingerprint("t", "e", NOON, b'{"a":1}') != fingerprint("t", "e", NOON, b'{"a": 1}')


def test_excluded_paths_do_not_count() -> None:
    first = b'{"id": 1, "meta": {"sent": "09:00", "by": "x"}, "sent": 1}'
    again = b'{"sent": 2, "id": 1, "meta": {"by": "x", "sent": "09:05"}}'
    other = b'{"sent": 2, "id": 2, "meta": {"by": "x", "sent": "09:05"}}'
    exclude = ("meta.sent", "sent", "not.there", "id.below.a.number")

    def of(payload: bytes) -> str:
        return fingerprint("t", "e", NOON, payload, exclude)

    assert of(first) == of(again)
    assert of(first) != of(other)


@given(VALUE)
def test_canonical_text_means_the_same_and_is_its_own(value: Any) -> None:
    text = canonical(json.dumps(value, indent=2).encode())
    assert json.loads(text) == value
    assert canonical(text) == text
    assert canonical(json.dumps(value, ensure_ascii=False).encode()) == text


@given(st.dictionaries(TEXT, VALUE, min_size=2, max_size=5), st.randoms())
def test_the_order_of_names_does_not_count(value: dict[str, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert canonical(json.dumps(dict(items)).encode()) == canonical(json.dumps(value).encode())


@given(VALUE, VALUE)
def test_canonical_texts_differ_where_the_values_do(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (canonical(json.dumps(one).encode()) == canonical(json.dumps(other).encode())) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"1.0", b"1.00"),
        (b"1e0", b"1"),
        (b"-0", b"0"),
        (b"9007199254740993", b"9007199254740992"),  # one double
        (b"[1, 2]", b"[2, 1]"),
        (b'{"a": 1, "a": 2}', b'{"a": 2}'),  # readers differ on what the first one means
        (b'{"a": 1, "a": 2}', b'{"a": 2, "a": 1}'),
        (b'"1"', b"1"),
        (b"null", b"{}"),
    ],
)
def test_what_is_not_the_same_to_every_reader_stays_different(one: bytes, other: bytes) -> None:
    assert canonical(one) != canonical(other)


def test_one_spelling_of_each_string() -> None:
    assert canonical('{"é":"\\/"}'.encode()) == canonical(b'{ "\\u00e9" : "/" }')


def test_a_removed_name_is_removed_as_often_as_it_stands() -> None:
    assert canonical(b'{"a": 1, "b": {"a": 2, "a": 3}, "b": {"a": 4}}', ["b.a"]) == b'{"a":1,"b":{},"b":{}}'


def test_long_and_huge_numbers_are_left_alone() -> None:
    digits = b"1" * 6000
    assert canonical(b"[" + digits + b", 1e-9999]") == b"[" + digits + b",1e-9999]"


PARTS = st.lists(st.text("ab/\\|", max_size=4), min_size=1, max_size=4)


@given(PARTS, PARTS, st.sampled_from("/|a"))
@example(["a\\", "b"], ["a/b"], "/")
@example(["a/b"], ["a", "b"], "/")
def test_joined_keys_are_injective(one: list[str], other: list[str], separator: str) -> None:
    assert (join_escaped(one, separator) == join_escaped(other, separator)) == (one == other)


def test_a_join_that_needs_no_escape_reads_as_it_is() -> None:
    assert join_escaped(["EWR", "2013-11-03", "1"]) == "EWR/2013-11-03/1"


@pytest.mark.parametrize(("parts", "separator"), [([], "/"), (["a"], ""), (["a"], "||"), (["a"], "\\")])
def test_a_join_that_could_not_be_injective_is_refused(parts: list[str], separator: str) -> None:
    with pytest.raises(ValueError, match="at least one part"):
        join_escaped(parts, separator)


@given(TEXT, st.integers(1, 1000))
def test_a_shard_is_in_range_and_stable(entity: str, shards: int) -> None:
    assert 0 <= shard_of(entity, shards) < shards
    assert shard_of(entity, shards) == shard_of(entity, shards)


def test_shards_are_of_one_size_about() -> None:
    sizes = [0] * 8
    for number in range(8000):
        sizes[shard_of(f"N{number}", 8)] += 1
    assert max(sizes) < 1150
    assert min(sizes) > 850
