"""Input that means harm, or that nobody thought of: each event has its own verdict; no other one falls."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.domain.arrivals import Rejection
from pik.domain.decode import decode_event, decode_json, decode_lines, decode_request
from pik.domain.errors import BatchTooLarge, MalformedBatch, UnsupportedMediaType
from pik.domain.intake import MAX_BATCH_EVENTS, Decoded, Intake, IntakeRules
from pik.domain.json_text import read_object
from pik.domain.payloads import (
    MAX_ATTRIBUTES_BYTES,
    MAX_DEPTH,
    MAX_KEY_BYTES,
    MAX_NAME_BYTES,
    NotAnEvent,
    Reason,
)

RULES = IntakeRules()
GOOD = {
    "source": "departures",
    "event_type": "flight",
    "entity_id": "N14228",
    "event_time": "2013-01-01T10:15:00Z",
}


def event(payload: str = '{"delay": 2}', **changes: Any) -> bytes:
    """An event whose payload is this text, with fields changed, or left out where the change is `...`."""
    fields = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    head = json.dumps(fields)
    return f'{head[:-1]}{", " if fields else ""}"payload": {payload}}}'.encode()


def reason(result: Intake) -> str | None:
    return result.reason if isinstance(result, Rejection) else None


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


PAYLOADS: list[tuple[str, str | bytes, Reason | None]] = [
    ("NaN", '{"a": NaN}', Reason.NOT_FINITE),
    ("infinity", '{"a": [Infinity]}', Reason.NOT_FINITE),
    ("minus infinity", "-Infinity", Reason.NOT_FINITE),
    ("beyond a double", '{"a": 1e400}', Reason.NOT_FINITE),
    ("beyond a double, negative", "-1e400", Reason.NOT_FINITE),
    ("beyond a double, by digits", "1" + "0" * 400, Reason.NOT_FINITE),
    ("beyond Python's digits", "9" * 5000, Reason.NOT_FINITE),
    ("below a double", "1e-400", None),
    ("largest double", "1.7976931348623157e308", None),
    ("more digits than a double", "3.141592653589793238462643383279", None),
    ("integer beyond 2^53", "9007199254740993", None),
    ("integer beyond 2^64", "123456789012345678901234567890", None),
    ("minus zero", "-0", None),
    ("lone high surrogate", '"\\ud800"', Reason.LONE_SURROGATE),
    ("lone low surrogate", '{"a": "x\\uDC00y"}', Reason.LONE_SURROGATE),
    ("lone surrogate in a name", '{"\\ud83d": 1}', Reason.LONE_SURROGATE),
    ("pair the wrong way round", '"\\udc00\\ud800"', Reason.LONE_SURROGATE),
    ("surrogate pair", '"\\ud83d\\ude00"', None),
    ("surrogate in UTF-8", b'"\xed\xa0\x80"', Reason.INVALID_UTF8),
    ("invalid UTF-8", b'"\xff"', Reason.INVALID_UTF8),
    ("overlong UTF-8", b'"\xc0\xaf"', Reason.INVALID_UTF8),
    ("latin-1", '"é"'.encode("latin-1"), Reason.INVALID_UTF8),
    ("UTF-8", '"é😀\u2028"', None),
    ("escaped NUL", '"\\u0000"', None),
    ("NUL", '"a\0b"', Reason.INVALID_JSON),
    ("line feed in a string", '"a\nb"', Reason.INVALID_JSON),
    ("DEL", '"\x7f"', None),
    ("leading zero", "01", Reason.INVALID_JSON),
    ("plus", "+1", Reason.INVALID_JSON),
    ("point without digits", "1.", Reason.INVALID_JSON),
    ("hexadecimal", "0x10", Reason.INVALID_JSON),
    ("single quotes", "{'a': 1}", Reason.INVALID_JSON),
    ("trailing comma", "[1,]", Reason.INVALID_JSON),
    ("comment", "[1 /* one */]", Reason.INVALID_JSON),
    ("wrong escape", '"\\x41"', Reason.INVALID_JSON),
    ("Python's None", "None", Reason.INVALID_JSON),
    ("null", "null", None),
    ("scalar", "1", None),
    ("empty", "{}", None),
    ("repeated names", '{"a": 1, "a": 2}', None),
    ("deepest", nested(MAX_DEPTH), None),
    ("too deep", nested(MAX_DEPTH + 1), Reason.TOO_DEEP),
    ("too deep for any reader", nested(10_000), Reason.TOO_DEEP),
    ("too deep objects", '{"a":' * 900 + "1" + "}" * 900, Reason.TOO_DEEP),
    ("wide, not deep", "[" + ",".join(["[1]"] * 10_000) + "]", None),
    ("brackets in a string", '"' + "[" * 10_000 + '"', None),
    ("10 MB string", '"' + "x" * 10_000_000 + '"', Reason.PAYLOAD_TOO_LARGE),
    ("just within the bound", '"' + "x" * (RULES.max_event_bytes - 2) + '"', None),
    ("just beyond the bound", '"' + "x" * (RULES.max_event_bytes - 1) + '"', Reason.PAYLOAD_TOO_LARGE),
]


@pytest.mark.parametrize(
    ("payload", "expected"), [case[1:] for case in PAYLOADS], ids=[case[0] for case in PAYLOADS]
)
def test_payloads(payload: str | bytes, expected: Reason | None) -> None:
    text = payload if isinstance(payload, bytes) else payload.encode()
    hostile = event("?").replace(b"?", text)
    result = decode_event(hostile, RULES)
    assert reason(result) == expected
    if isinstance(result, Decoded):
        assert result.arrival.data == text
    # among others, in every form that has several
    rules = IntakeRules(max_batch_bytes=20_000_000)
    others = [event("1"), hostile, event("2")]
    batches = [b"[" + b", ".join(others) + b"]", b'{"events": [' + b",".join(others) + b"]}"]
    for batch in batches:
        found = decode_json(batch, rules)
        assert [reason(one) for one in found] == [None, expected, None]
    if b"\n" not in text:
        assert [reason(one) for one in decode_lines(b"\n".join(others), rules)] == [None, expected, None]


FIELDS: list[tuple[str, dict[str, Any], Reason | None]] = [
    ("all there", {}, None),
    ("with a key", {"idempotency_key": "UA/1545"}, None),
    ("key null", {"idempotency_key": None}, None),
    ("key empty", {"idempotency_key": ""}, Reason.EMPTY_FIELD),
    ("key a number", {"idempotency_key": 1545}, Reason.WRONG_TYPE),
    ("key at its bound", {"idempotency_key": "k" * MAX_KEY_BYTES}, None),
    ("key too long", {"idempotency_key": "k" * (MAX_KEY_BYTES + 1)}, Reason.FIELD_TOO_LONG),
    ("no source", {"source": ...}, Reason.MISSING_FIELD),
    ("source null", {"source": None}, Reason.MISSING_FIELD),
    ("source empty", {"source": ""}, Reason.EMPTY_FIELD),
    ("no type", {"event_type": ...}, Reason.MISSING_FIELD),
    ("type true", {"event_type": True}, Reason.WRONG_TYPE),
    ("no entity", {"entity_id": ...}, Reason.MISSING_FIELD),
    ("entity empty", {"entity_id": ""}, Reason.EMPTY_FIELD),
    ("entity a space", {"entity_id": " "}, None),
    ("entity a number", {"entity_id": 42}, Reason.WRONG_TYPE),
    ("entity a list", {"entity_id": ["a"]}, Reason.WRONG_TYPE),
    ("entity an object", {"entity_id": {"id": "a"}}, Reason.WRONG_TYPE),
    ("entity at its bound", {"entity_id": "é" * (MAX_NAME_BYTES // 2)}, None),
    ("entity too long in bytes", {"entity_id": "é" * (MAX_NAME_BYTES // 2 + 1)}, Reason.FIELD_TOO_LONG),
    ("entity 1 MB", {"entity_id": "x" * 1_000_000}, Reason.FIELD_TOO_LONG),
    ("entity with NUL", {"entity_id": "a\0b"}, Reason.NULL_CHARACTER),
    ("entity with a line feed", {"entity_id": "a\nb"}, None),
    ("entity with a lone surrogate", {"entity_id": "a\ud800"}, Reason.LONE_SURROGATE),
    ("source with a lone surrogate", {"source": "\udc00"}, Reason.LONE_SURROGATE),
    ("entity beyond the basic plane", {"entity_id": "😀"}, None),
    ("no time", {"event_time": ...}, Reason.MISSING_FIELD),
    ("time null", {"event_time": None}, Reason.MISSING_FIELD),
    ("time empty", {"event_time": ""}, Reason.EMPTY_FIELD),
    ("time a number", {"event_time": 1357035300}, Reason.WRONG_TYPE),
    ("time without offset", {"event_time": "2013-01-01T10:15:00"}, Reason.INVALID_TIME),
    ("time a date", {"event_time": "2013-01-01"}, Reason.INVALID_TIME),
    ("time in lower case", {"event_time": "2013-01-01t10:15:00z"}, None),
    ("time with nanoseconds", {"event_time": "2013-01-01T10:15:00.123456789+05:30"}, None),
    ("time a leap second", {"event_time": "2016-12-31T23:59:60Z"}, Reason.INVALID_TIME),
    ("time in the year 0", {"event_time": "0000-01-01T00:00:00Z"}, Reason.INVALID_TIME),
    ("time 1 MB", {"event_time": "2" * 1_000_000}, Reason.INVALID_TIME),
    ("nothing", dict.fromkeys(GOOD, ...), Reason.MISSING_FIELD),
    ("another field", {"trace": {"id": [1, 2.50]}}, None),
    ("other fields too large", {"trace": "x" * MAX_ATTRIBUTES_BYTES}, Reason.ATTRIBUTES_TOO_LARGE),
    ("another field with a lone surrogate", {"trace": "\ud800"}, Reason.LONE_SURROGATE),
]


@pytest.mark.parametrize(
    ("changes", "expected"), [case[1:] for case in FIELDS], ids=[case[0] for case in FIELDS]
)
def test_fields(changes: dict[str, Any], expected: Reason | None) -> None:
    result = decode_event(event(**changes), RULES)
    assert reason(result) == expected
    if isinstance(result, Rejection):
        assert len(result.message) < 300
    batch = b"[" + event("1") + b"," + event(**changes) + b"]"
    assert [reason(one) for one in decode_json(batch, IntakeRules())] == [None, expected]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"1e400", Reason.NOT_FINITE),
        (b"9" * 5000, Reason.NOT_FINITE),
        (b'"\xff"', Reason.INVALID_UTF8),
        (nested(MAX_DEPTH + 1).encode(), Reason.TOO_DEEP),
    ],
)
def test_attributes_are_json_too(value: bytes, expected: Reason) -> None:
    for payload in ("1", '"' + "x" * 6000 + '"'):
        assert reason(decode_event(event(payload)[:-1] + b' , "trace": ' + value + b"}", RULES)) == expected


def test_a_missing_payload_is_not_a_null_one() -> None:
    [missing] = decode_json(json.dumps(GOOD).encode(), RULES)
    assert reason(missing) == Reason.MISSING_FIELD


@pytest.mark.parametrize(
    "text",
    [
        event()[:-1] + b', "entity_id": "N14228"}',
        event()[:-1] + b', "entity_id": "other"}',
        event()[:-1] + b',"entity_id":1}',
        event()[:-1] + b', "entity\\u005fid": "other"}',
        event()[:-1] + b', "payload": 1}',
        b'{"payload": 1, ' + event()[1:],
        event()[:-1] + b', "trace": 1, "trace": 1}',
        json.dumps({**GOOD, "payload": 1}, separators=(",", ":")).encode()[:-1] + b',"source":1}',
        # eleven bytes more than the fields need: what six fields with a space after each sign have too
        b'{"source":1,'
        + json.dumps({**GOOD, "payload": 1, "idempotency_key": "k"}, separators=(",", ":")).encode()[1:],
        json.dumps({**GOOD, "payload": 1}, indent=4).encode()[:-2] + b', "source": "departures"}',
    ],
)
def test_a_field_that_stands_twice(text: bytes) -> None:
    assert reason(decode_event(text, RULES)) == Reason.DUPLICATE_FIELD


def test_values_that_look_like_parts_of_names() -> None:
    assert list(read_object(b'{"a1" : 1, "a0" : 1}')) == ["a1", "a0"]


@pytest.mark.parametrize("indent", [None, 0, 1, 4])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,", " :"), (",", ": "), (", ", ":")])
def test_no_spacing_makes_a_field_look_like_two(indent: int | None, separators: tuple[str, str]) -> None:
    value = {**GOOD, "payload": {"source": "x", "entity_id": ["entity_id"]}, "idempotency_key": "source"}
    text = json.dumps(value, indent=indent, separators=separators).encode()
    assert reason(decode_event(text, RULES)) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "source", "é", 'q"', "payload"]), st.integers(0, 99)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), (",\n  ", ":")]),
)
def test_doubled_names_are_seen_whatever_the_spacing(
    pairs: list[tuple[str, int]], separators: tuple[str, str]
) -> None:
    comma, colon = separators
    text = "{" + comma.join(f"{json.dumps(name)}{colon}{value}" for name, value in pairs) + "}"
    names = [name for name, _ in pairs]
    if len(set(names)) == len(names):
        assert list(read_object(text.encode())) == names
    else:
        with pytest.raises(NotAnEvent, match="stands twice"):
            read_object(text.encode())


NOT_OBJECTS = [b"1", b'"text"', b"null", b"true", b"[1]"]


@pytest.mark.parametrize("text", NOT_OBJECTS)
def test_an_event_is_an_object(text: bytes) -> None:
    assert reason(decode_event(text, RULES)) == Reason.WRONG_TYPE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"[" + event(),
        b"[" + event() + b",]",
        b"[," + event() + b"]",
        b"[" + event() + b"]]",
        b"[" + event() + b"] and more",
        b'[{"a": "no end]',
        b'{"events": [' + event() + b",]}",
        b'{"events": [], "events": [' + event() + b"]}",
        b"[" * 100_000,
    ],
)
def test_a_body_that_cannot_be_told_apart(body: bytes) -> None:
    with pytest.raises(MalformedBatch):
        decode_json(body, RULES)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[]", []),
        (b'{"events": []}', []),
        (b" [ ] ", []),
        (b'{"events": 1}', [Reason.MISSING_FIELD]),
        (b'{"events": [], "x": 1}', [Reason.MISSING_FIELD]),
        (b"nonsense", [Reason.INVALID_JSON]),
        (b"\xef\xbb\xbf" + event(), [Reason.INVALID_JSON]),
        (event().decode().encode("utf-16"), [Reason.INVALID_UTF8]),
        (
            b'[1, {}, [], nonsense, {"a": 1}x]',
            [Reason.WRONG_TYPE, Reason.MISSING_FIELD, Reason.WRONG_TYPE] + [Reason.INVALID_JSON] * 2,
        ),
    ],
)
def test_bodies_with_little_in_them(body: bytes, expected: list[Reason]) -> None:
    assert [reason(one) for one in decode_json(body, RULES)] == expected


def test_lines() -> None:
    body = b"\n\r\n" + event("1") + b"\r\n  " + event("2") + b"\n\nnonsense\n" + event("3")
    results = decode_lines(body, RULES)
    assert [reason(one) for one in results] == [None, None, Reason.INVALID_JSON, None]
    assert [one.arrival.data for one in results if isinstance(one, Decoded)] == [b"1", b"2", b"3"]


def test_a_body_has_a_bound() -> None:
    body = b"[" + event() + b"]"
    assert len(decode_json(body, IntakeRules(max_batch_bytes=len(body)))) == 1
    for content_type in (None, "application/x-ndjson", "application/cloudevents+json"):
        with pytest.raises(BatchTooLarge):
            decode_request(body, IntakeRules(max_batch_bytes=len(body) - 1), content_type)


def test_the_number_of_events_has_a_bound() -> None:
    with pytest.raises(BatchTooLarge):
        decode_json(b"[" + b"0," * MAX_BATCH_EVENTS + b"0]", RULES)


@pytest.mark.parametrize("content_type", ["text/plain", "text/csv", "application/xml", "json", ""])
def test_content_types_that_are_not_taken(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        decode_request(event(), RULES, content_type)
    with pytest.raises(UnsupportedMediaType):
        decode_request(event(), RULES, "application/json; charset=latin-1")


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "Application/JSON; charset=UTF-8", "application/x+json"]
)
def test_content_types_of_the_kits_form(content_type: str | None) -> None:
    [result] = decode_request(event(), RULES, content_type)
    assert reason(result) is None


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/jsonl; charset=utf-8"])
def test_content_types_of_lines(content_type: str) -> None:
    assert len(decode_request(event() + b"\n" + event(), RULES, content_type)) == 2


@given(st.binary(max_size=200))
def test_any_bytes_have_a_verdict(body: bytes) -> None:
    for content_type in ("application/json", "application/x-ndjson", "application/cloudevents+json"):
        with contextlib.suppress(MalformedBatch):
            assert all(isinstance(one, Rejection) for one in decode_request(body, RULES, content_type))


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_any_damage_to_a_batch_has_a_verdict(place: int, damage: bytes) -> None:
    body = b"[" + event("1") + b"," + event('{"a": [1, "]"]}') + b"," + event("3") + b"]"
    damaged = body[:place] + damage + body[place + len(damage) :]
    try:
        results = decode_json(damaged, RULES)
    except MalformedBatch:
        return
    for one in results:
        if isinstance(one, Decoded):
            json.loads(one.arrival.data.decode())


def test_every_reason_has_a_sentence() -> None:
    assert all(one.meaning.endswith(".") and one.value.isalnum() for one in Reason)
    assert len({one.meaning for one in Reason}) == len(Reason)
