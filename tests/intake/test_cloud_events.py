"""CloudEvents 1.0, against the `cloudevents` package as the oracle of the format."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from pik.domain.arrivals import Arrival, Rejection
from pik.domain.decode import decode_request
from pik.domain.errors import MalformedBatch
from pik.domain.instants import instant_of, parse_instant
from pik.domain.intake import Decoded, IntakeRules, ReplayClaim
from pik.domain.mapping import Mapping, TextRule
from pik.domain.payloads import Reason

RULES = IntakeRules()
ONE, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
RUN = "b2" * 32
FULL = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "https://github.com/cloudevents/spec/pull",
    "type": "com.github.pull_request.opened",
    "subject": "123",
    "time": "2018-04-05T17:31:00Z",
}
# printable, as the type system of CloudEvents wants strings
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=20)
# the package writes years before that with fewer digits, which is not RFC 3339
YEAR_1000 = datetime.fromisoformat("1000-01-01")
DATA = st.dictionaries(
    TEXT, st.integers() | TEXT | st.none() | st.lists(st.booleans(), max_size=3), max_size=4
)


def only(
    body: bytes, content_type: str | None = ONE, headers: Any = (), rules: IntakeRules = RULES
) -> Decoded:
    [result] = decode_request(body, rules, content_type, headers)
    assert isinstance(result, Decoded), result
    return result


def refused(body: bytes, content_type: str | None = ONE, headers: Any = ()) -> str:
    [result] = decode_request(body, RULES, content_type, headers)
    assert isinstance(result, Rejection)
    return result.reason


def text(data: bytes | None = b"{}", **changes: Any) -> bytes:
    fields = {name: value for name, value in {**FULL, **changes}.items() if value is not ...}
    return json.dumps(fields).encode()[:-1] + (b"}" if data is None else b', "data": ' + data + b"}")


def headers_of(message: HTTPMessage) -> tuple[str | None, list[tuple[bytes, bytes]]]:
    pairs = [(name.lower().encode(), value.encode("ascii")) for name, value in message.headers.items()]
    content_type = dict(pairs).get(b"content-type")
    return None if content_type is None else content_type.decode(), pairs


@given(
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    st.datetimes(timezones=st.just(UTC), min_value=YEAR_1000),
    DATA,
    TEXT,
)
def test_what_the_package_writes_is_read(
    id_: str, source: str, type_: str, subject: str, time: datetime, data: dict[str, Any], trace: str
) -> None:
    attributes = {
        "specversion": "1.0",
        "id": id_,
        "source": source,
        "type": type_,
        "subject": subject,
        "time": time,
        "datacontenttype": "application/json",
        "traceparent": trace,
    }
    event = CloudEvent(attributes, data)
    structured, binary = to_structured_event(event), to_binary_event(event)
    one = only(structured.body, structured.headers["content-type"])
    other = only(binary.body, *headers_of(binary))
    for arrival in (one.arrival, other.arrival):
        assert arrival.idempotency_key == id_
        assert (arrival.source, arrival.event_type, arrival.entity_id) == (source, type_, subject)
        assert arrival.event_time == instant_of(time)
        assert json.loads(arrival.data) == data
        assert json.loads(arrival.attributes or "") == {"traceparent": trace}
    assert other.arrival.data == binary.body
    read_again = from_http_event(HTTPMessage(dict(binary.headers), binary.body))
    assert read_again.get_data() == (data or {})


EXACT = b'{"price": 1.50, "big": 12345678901234567890, "a": [ ],"\\u00e9":"\\/"}'


@pytest.mark.parametrize("data", [EXACT, b"1.0", b'"text"', b"null", b"[1 ,2]", b"true"])
def test_data_survives_to_the_byte(data: bytes) -> None:
    assert only(text(data)).arrival.data == data
    assert only(b"[" + text(data) + b"]", BATCH).arrival.data == data
    assert only(text(data), "application/json").arrival.data == data
    assert only(text(data), "application/x-ndjson").arrival.data == data
    assert only(b" " + data + b"\n", *BINARY).arrival.data == data


BINARY: tuple[str, list[tuple[bytes, bytes]]] = (
    "application/json",
    [(b"CE-" + name.encode(), value.encode()) for name, value in FULL.items()],
)


def test_both_modes_give_one_event() -> None:
    assert only(text(EXACT)) == only(EXACT, *BINARY)


def test_no_data_is_null() -> None:
    assert only(text(None)).arrival.data == b"null"
    assert only(b"", *BINARY).arrival.data == b"null"


def test_the_entity_is_entityid_or_else_the_subject() -> None:
    by_subject = only(text()).arrival
    assert (by_subject.entity_id, by_subject.attributes) == ("123", None)
    by_extension = only(text(entityid="e-9")).arrival
    assert by_extension.entity_id == "e-9"
    assert json.loads(by_extension.attributes or "") == {"subject": "123"}
    alone = only(text(entityid="e-9", subject=None)).arrival
    assert (alone.entity_id, alone.attributes) == ("e-9", None)
    assert refused(text(subject=...)) == Reason.MISSING_FIELD
    assert refused(text(entityid="")) == Reason.EMPTY_FIELD


def test_attributes_without_a_column_are_kept() -> None:
    found = only(text(dataschema="https://x", traceparent="00-ab", sampled=True, level=3, gone=None)).arrival
    assert json.loads(found.attributes or "") == {
        "dataschema": "https://x",
        "traceparent": "00-ab",
        "sampled": True,
        "level": 3,
        "gone": None,
    }


def test_attributes_that_cloud_events_would_not_have_are_kept_too() -> None:
    """A replay of an event that came in the kit's form may bring them."""
    found = only(text(traceId={"a": 1}, trace_id="x")).arrival
    assert found.attributes == '{"traceId":{"a": 1},"trace_id":"x"}'


def test_a_content_type_is_kept_where_it_says_more() -> None:
    assert only(text(datacontenttype="application/json")).arrival.attributes is None
    found = only(text(datacontenttype="application/vnd.pull+json")).arrival
    assert json.loads(found.attributes or "") == {"datacontenttype": "application/vnd.pull+json"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"specversion": "0.3"}, Reason.UNSUPPORTED_VERSION),
        ({"specversion": 1.0}, Reason.WRONG_TYPE),
        ({"specversion": ...}, Reason.MISSING_FIELD),
        ({"id": ...}, Reason.MISSING_FIELD),
        ({"id": ""}, Reason.EMPTY_FIELD),
        ({"id": 7}, Reason.WRONG_TYPE),
        ({"source": None}, Reason.MISSING_FIELD),
        ({"type": ""}, Reason.EMPTY_FIELD),
        ({"time": ...}, Reason.MISSING_FIELD),
        ({"time": "yesterday"}, Reason.INVALID_TIME),
        ({"data_base64": "AQI="}, Reason.UNSUPPORTED_CONTENT),
        ({"datacontenttype": "text/plain"}, Reason.UNSUPPORTED_CONTENT),
        ({"datacontenttype": "application/json; charset=utf-16"}, Reason.UNSUPPORTED_CONTENT),
        ({"pikrun": 7, "pikstream": "5f0c"}, Reason.WRONG_TYPE),
    ],
)
def test_what_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    assert refused(text(**changes)) == reason
    assert refused(b"[" + text(**changes) + b"]", BATCH) == reason


def test_an_attribute_that_stands_twice() -> None:
    assert refused(text()[:-1] + b', "id": "other"}') == Reason.DUPLICATE_FIELD
    content_type, headers = BINARY
    assert refused(b"1", content_type, [*headers, (b"ce-id", b"other")]) == Reason.DUPLICATE_FIELD


def test_a_batch_is_an_array_and_each_has_its_verdict() -> None:
    results = decode_request(b"[" + text() + b", NaN, " + text(id="2") + b"]", RULES, BATCH)
    assert [type(one) for one in results] == [Decoded, Rejection, Decoded]
    assert decode_request(b"[]", RULES, BATCH) == []
    with pytest.raises(MalformedBatch):
        decode_request(text(), RULES, BATCH)
    assert refused(b"[" + text() + b"]") == Reason.WRONG_TYPE


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"%e2%82%ac", "€"),
        (b'"in quotes \\" and \\\\"', 'in quotes " and \\'),
        (b'"%41%25"', "A%"),
        (b"100%", "100%"),
        (b"%2541", "%41"),  # one round only
        (b"a+b", "a+b"),
        (b'"', '"'),
    ],
)
def test_header_values(value: bytes, meaning: str) -> None:
    content_type, headers = BINARY
    replaced = [(name, value if name == b"CE-subject" else old) for name, old in headers]
    assert only(b"1", content_type, replaced).arrival.entity_id == meaning


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ((b"ce-subject", b"%C0%A0"), Reason.INVALID_UTF8),
        ((b"ce-subject", b"\xe9"), Reason.INVALID_UTF8),
        ((b"ce-specversion", b"2.0"), Reason.UNSUPPORTED_VERSION),
        ((b"ce-time", b"2018-04-05"), Reason.INVALID_TIME),
    ],
)
def test_headers_that_are_refused(header: tuple[bytes, bytes], reason: Reason) -> None:
    content_type, headers = BINARY
    others = [pair for pair in headers if pair[0].lower() != header[0]]
    assert refused(b"1", content_type, [*others, header]) == reason


def test_a_replay_marker_in_both_modes() -> None:
    claim = ReplayClaim("5f0c", RUN)
    marked = only(text(EXACT, pikrun=RUN, pikstream="5f0c"))
    assert marked.claim == claim
    content_type, headers = BINARY
    in_headers = only(
        EXACT, content_type, [*headers, (b"ce-pikrun", RUN.encode()), (b"ce-pikstream", b"5f0c")]
    )
    assert in_headers == marked
    unmarked: Arrival = only(text(EXACT)).arrival
    assert marked.arrival == unmarked
    half = only(text(EXACT, pikrun=RUN))
    assert half.claim is None
    assert json.loads(half.arrival.attributes or "") == {"pikrun": RUN}


@pytest.mark.parametrize("stored", ["{", "[1]", '"text"', '{"a": 1, "a": 2}', ""])
def test_stored_attributes_that_are_none(stored: str) -> None:
    assert refused(text(pikrun=RUN, pikstream="5f0c", pikattributes=stored))
    [unmarked] = decode_request(text(pikattributes=stored), RULES, ONE)
    assert isinstance(unmarked, Decoded)


def test_a_mapping_gives_what_the_event_does_not_say() -> None:
    rules = IntakeRules(
        mapping=Mapping(
            entity_id=TextRule(("order.id",)),
            event_time=TextRule(("at",)),
            event_type=TextRule(value="order"),
            source=TextRule(value="shop"),
            received_time=TextRule(("seen",)),
        )
    )
    data = b'{"order": {"id": 17}, "at": "2018-04-05T17:31:00Z", "seen": "2018-04-05T18:00:00Z"}'
    found = only(text(data, subject=..., time=...), rules=rules).arrival
    assert found.entity_id == "17"
    assert found.event_time_text == "2018-04-05T17:31:00Z"
    assert found.source == FULL["source"]
    assert found.received_time == parse_instant("2018-04-05T18:00:00Z")
    assert only(text(data), rules=rules).arrival.entity_id == "123"
