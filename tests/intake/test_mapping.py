"""Foreign rows: what a mapping finds, what is empty, what is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pik.domain.arrivals import Arrival, Rejection
from pik.domain.decode import decode_json, decode_lines
from pik.domain.instants import parse_instant
from pik.domain.intake import Decoded, IntakeRules
from pik.domain.json_text import read_object
from pik.domain.mapping import Mapping, TextRule, json_lookup
from pik.domain.payloads import NotAnEvent, Reason

FLIGHTS = Mapping(
    source=TextRule(value="departures"),
    event_type=TextRule(value="flight"),
    entity_id=TextRule(paths=("tailnum",), join=("carrier", "flight")),
    event_time=TextRule(paths=("time_hour",)),
    received_time=TextRule(paths=("landed_at", "time_hour")),
    idempotency_key=TextRule(join=("time_hour", "carrier", "flight", "origin")),
)
RULES = IntakeRules(mapping=FLIGHTS)
ROW = {
    "carrier": "UA",
    "flight": 1545,
    "tailnum": "N14228",
    "origin": "EWR",
    "time_hour": "2013-01-01T10:00:00Z",
    "landed_at": "2013-01-01T13:47:00Z",
}


def mapped(**changes: object) -> Arrival | Rejection:
    row = {name: value for name, value in {**ROW, **changes}.items() if value is not ...}
    [result] = decode_json(json.dumps(row).encode(), RULES)
    return result.arrival if isinstance(result, Decoded) else result


def test_a_row_becomes_an_event() -> None:
    found = mapped()
    assert isinstance(found, Arrival)
    assert (found.source, found.event_type, found.entity_id) == ("departures", "flight", "N14228")
    assert found.event_time == parse_instant("2013-01-01T10:00:00Z")
    assert found.received_time == parse_instant("2013-01-01T13:47:00Z")
    assert found.idempotency_key == "2013-01-01T10:00:00Z/UA/1545/EWR"
    assert found.data == json.dumps(ROW).encode()
    assert found.attributes is None


@pytest.mark.parametrize("empty", [None, "", ...])
def test_what_is_empty_falls_back(empty: object) -> None:
    found = mapped(tailnum=empty, landed_at=empty)
    assert isinstance(found, Arrival)
    assert found.entity_id == "UA/1545"
    assert found.received_time == parse_instant("2013-01-01T10:00:00Z")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tailnum": "", "carrier": None}, Reason.MISSING_FIELD),
        ({"time_hour": ...}, Reason.MISSING_FIELD),
        ({"time_hour": "2013-01-01 10:00"}, Reason.INVALID_TIME),
        ({"time_hour": 1357034400}, Reason.INVALID_TIME),
        ({"landed_at": "at noon"}, Reason.INVALID_TIME),  # wrong is not empty: no fallback
        ({"tailnum": ["N14228"]}, Reason.WRONG_TYPE),
        ({"tailnum": {"id": "N14228"}}, Reason.WRONG_TYPE),
        ({"tailnum": "N\0"}, Reason.NULL_CHARACTER),
        ({"tailnum": "N" * 600}, Reason.FIELD_TOO_LONG),
        ({"carrier": "U" * 1100}, Reason.FIELD_TOO_LONG),
    ],
)
def test_what_rejects_a_row(changes: dict[str, object], reason: Reason) -> None:
    found = mapped(**changes)
    assert isinstance(found, Rejection)
    assert found.reason == reason


def test_a_key_that_cannot_be_joined_is_no_key() -> None:
    found = mapped(origin=None)
    assert isinstance(found, Arrival)
    assert found.idempotency_key is None


def test_numbers_are_taken_as_they_are_written() -> None:
    texts = [b"1545", b"1545.0", b"1.545e3", b"true", b'"1545"', b"12345678901234567890123"]
    rows = [json.dumps({**ROW, "tailnum": "?"}).encode().replace(b'"?"', text) for text in texts]
    ids = [one.arrival.entity_id for one in decode_lines(b"\n".join(rows), RULES) if isinstance(one, Decoded)]
    assert ids == ["1545", "1545.0", "1.545e3", "true", "1545", "12345678901234567890123"]


def test_a_rows_own_text_is_the_payload() -> None:
    line = b'{ "time_hour":"2013-01-01T10:00:00Z", "tailnum" : "N1", "x": 1.50 , "y":"\\u00e9"}'
    [result] = decode_lines(b" " + line + b" \r\n", RULES)
    assert isinstance(result, Decoded)
    assert result.arrival.data == line


def test_a_marker_in_a_row_is_the_rows_own() -> None:
    row = json.dumps({**ROW, "pikrun": "a" * 64, "pikstream": "s"}).encode()
    [result] = decode_json(row, RULES)
    assert isinstance(result, Decoded)
    assert result.claim is None


def test_batches_of_rows_reject_one_by_one() -> None:
    good, bad = json.dumps(ROW).encode(), b'{"tailnum": NaN}'
    for body in (b"[" + good + b"," + bad + b"]", b'{"events": [' + good + b"," + bad + b"]}"):
        assert [type(one) for one in decode_json(body, RULES)] == [Decoded, Rejection]
    assert [type(one) for one in decode_lines(good + b"\n" + bad, RULES)] == [Decoded, Rejection]


NESTED = read_object(
    b'{"a": {"b": {"c": "deep", "n": null, "e": ""}, "b.c": "dotted"},'
    b' "a.b.c": "whole", "a.x": 7, "s": "t", "l": [1]}'
)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.b.c", "whole"),  # the whole name comes first
        ("a.b.n", None),
        ("a.b.e", None),
        ("a.b.none", None),
        ("a.none.c", None),
        ("s.t", None),  # below a text there is nothing
        ("l.0", None),
        ("a.x", "7"),
        ("s", "t"),
        ("none", None),
    ],
)
def test_paths(path: str, text: str | None) -> None:
    assert json_lookup(NESTED)(path) == text


def test_deep_paths() -> None:
    assert json_lookup(read_object(b'{"a": {"b": {"c": "deep"}}}'))("a.b.c") == "deep"
    with pytest.raises(NotAnEvent, match="string, number or boolean"):
        json_lookup(NESTED)("a.b")


COLUMNS = frozenset({"carrier", "flight", "tailnum", "origin", "time_hour"})


def test_columns_that_a_mapping_cannot_do_without() -> None:
    assert FLIGHTS.missing(COLUMNS) == []
    assert FLIGHTS.missing(COLUMNS - {"tailnum"}) == []  # joined then
    assert FLIGHTS.missing(COLUMNS - {"tailnum", "flight"}) == ["entityID"]
    assert FLIGHTS.missing(frozenset()) == ["entityID", "eventTime"]
    assert Mapping().missing(COLUMNS) == ["entityID", "eventTime", "eventType", "source"]
    assert not Mapping(idempotency_key=TextRule(("id",))).takes_rows


PART = st.text(st.sampled_from("ab/\\ é"), min_size=1, max_size=4)


@given(st.tuples(PART, PART), st.tuples(PART, PART))
@example(("a/b", "c"), ("a", "b/c"))
def test_different_rows_have_different_joined_keys(one: tuple[str, str], other: tuple[str, str]) -> None:
    rule = TextRule(join=("a", "b"))
    texts = [rule.text(dict(zip("ab", parts, strict=True)).get) for parts in (one, other)]
    assert (texts[0] == texts[1]) == (one == other)
