"""The kit's form: what survives, what is kept beside, who an event is, and the replay marker."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.domain.arrivals import Arrival, Rejection
from pik.domain.decode import decode_event, decode_json, decode_lines
from pik.domain.identity import event_id, fingerprint
from pik.domain.instants import parse_instant
from pik.domain.intake import Decoded, IntakeRules, ReplayClaim
from pik.domain.kit_events import _any_event
from pik.domain.mapping import Mapping, TextRule
from pik.domain.payloads import NotAnEvent
from pik.planning.envelope import cloud_events
from replay.slices import columns, event

RULES = IntakeRules()
RUN = "a1" * 32
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(
        st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


OTHERS = st.none() | st.sampled_from(
    [{"trace": {"id": [1]}}, {"subject": "x"}, {"a": 1.5}, {"a": None}, {"A": 1}]
)


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    """A JSON value in one of its many spellings."""
    return json.dumps(
        draw(VALUE),
        indent=draw(st.sampled_from([None, None, 0, 2])),
        separators=draw(st.sampled_from([None, (",", ":"), (" ,", " : ")])),
        ensure_ascii=draw(st.booleans()),
    ).encode()


@st.composite
def fields_in_json(draw: st.DrawFn) -> bytes:
    """An event whose fields may be escaped, spaced, wrong, missing, or there twice."""
    names = ["source", "event_type", "entity_id", "event_time", "payload", "idempotency_key", "other"]
    values = st.sampled_from(["x", "2013-07-10T04:00:00Z", "é", '"', "", None, 1, [{}]])
    some = draw(st.lists(st.sampled_from(names), max_size=3))
    time = {"event_time": "2013-07-10T04:00:00Z"}
    pairs = [(name, time.get(name, "x")) for name in draw(st.permutations(names[:5]))]
    pairs += [(name, draw(values)) for name in some]
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", ":")]))
    ascii_only = draw(st.booleans())
    written = [
        json.dumps(name) + colon + json.dumps(value, ensure_ascii=ascii_only, separators=(comma, colon))
        for name, value in pairs
    ]
    return f"{{{comma.join(written)}}}".encode()


@given(fields_in_json())
def test_the_short_way_of_reading_finds_what_the_long_one_does(text: bytes) -> None:
    try:
        expected: Decoded | Rejection = _any_event(text, RULES)
    except NotAnEvent as error:
        expected = error.rejection
    assert decode_event(text, RULES) == expected


def envelope(payload: bytes, **fields: Any) -> bytes:
    given = {
        "source": "departures",
        "event_type": "flight",
        "entity_id": "N14228",
        "event_time": "2013-01-01T10:15:00Z",
        **fields,
    }
    return json.dumps(given).encode()[:-1] + b', "payload":' + payload + b"}"


def arrival(text: bytes, rules: IntakeRules = RULES) -> Arrival:
    result = decode_event(text, rules)
    assert isinstance(result, Decoded), result
    assert result.claim is None
    return result.arrival


@given(st.lists(spelled(), min_size=1, max_size=5), st.sampled_from([b"", b" ", b"\n\t"]))
def test_payloads_survive_to_the_byte(payloads: list[bytes], space: bytes) -> None:
    texts = [space + envelope(space + payload + space) + space for payload in payloads]
    batches = [decode_json(b"[" + b",".join(texts) + b"]", RULES)]
    batches.append(decode_json(b'{"events":[' + b",".join(texts) + b"]}", RULES))
    if not any(b"\n" in text for text in texts):
        batches.append(decode_lines(b"\n".join(texts), RULES))
    for results in batches:
        for result, payload in zip(results, payloads, strict=True):
            assert isinstance(result, Decoded)
            assert result.arrival.data == payload
            assert result.arrival.payload_sha256 == sha256(payload).hexdigest()


@given(TEXT, TEXT, TEXT, spelled(), st.none() | TEXT)
def test_an_arrival_is_what_was_said(
    source: str, event_type: str, entity_id: str, payload: bytes, key: str | None
) -> None:
    text = "2013-01-01T05:15:00.1234567-05:00"
    found = arrival(
        envelope(
            payload,
            source=source,
            event_type=event_type,
            entity_id=entity_id,
            event_time=text,
            idempotency_key=key,
        )
    )
    time = parse_instant(text)
    content = fingerprint(event_type, entity_id, time, payload)
    assert found == Arrival(
        event_id(source, key, content),
        source,
        event_type,
        entity_id,
        time,
        text,
        None,
        key,
        sha256(payload).hexdigest(),
        content,
        payload,
    )


def test_the_same_event_twice_has_one_identity() -> None:
    one = arrival(envelope(b'{"a":1}', idempotency_key="k"))
    spelled_otherwise = (
        b'{"payload":{"a":1}, "idempotency\\u005fkey" : "\\u006b",\n'
        b'"event_time":"2013-01-01T11:15:00+01:00", "entity_id":"N14228",'
        b'"event_type":"flight","source":"departures"}'
    )
    other = arrival(spelled_otherwise)
    assert (one.event_id, one.fingerprint) == (other.event_id, other.fingerprint)
    assert one.event_time_text != other.event_time_text


def test_unknown_fields_are_kept_as_they_came() -> None:
    found = arrival(envelope(b"1", trace={"id": "é"}, weight=1.50)[:-1] + b', "w": 1.50, "n": null}')
    assert found.attributes == '{"trace":{"id": "\\u00e9"},"weight":1.5,"w":1.50,"n":null}'
    assert arrival(envelope(b"1")).attributes is None


def test_excluded_paths_do_not_count() -> None:
    rules = IntakeRules(exclude=("sent",))
    one, again = (arrival(envelope(b'{"a": 1, "sent": %d}' % sent), rules) for sent in (1, 2))
    assert one.event_id == again.event_id
    assert one.fingerprint == again.fingerprint
    assert one.payload_sha256 != again.payload_sha256


def test_a_replay_marker_is_a_claim() -> None:
    result = decode_event(envelope(b"1", pikrun=RUN, pikstream="5f0c", trace=1), RULES)
    assert isinstance(result, Decoded)
    assert result.claim == ReplayClaim("5f0c", RUN)
    assert result.arrival.replay_of is None
    assert result.arrival.attributes == '{"trace":1}'
    assert result.as_replay().replay_of == RUN
    ordinary = result.as_ordinary()
    assert ordinary.replay_of is None
    assert json.loads(ordinary.attributes or "") == {"trace": 1, "pikrun": RUN, "pikstream": "5f0c"}


def test_a_claim_without_other_attributes_found_false() -> None:
    result = decode_event(envelope(b"1", pikrun=RUN, pikstream="5f0c"), RULES)
    assert isinstance(result, Decoded)
    assert json.loads(result.as_ordinary().attributes or "") == {"pikrun": RUN, "pikstream": "5f0c"}
    assert decode_event(envelope(b"1"), RULES) == Decoded(arrival(envelope(b"1")))
    assert Decoded(result.arrival).as_ordinary() == result.arrival
    with pytest.raises(ValueError, match="without a claim"):
        Decoded(result.arrival).as_replay()


def test_only_a_replay_names_an_event_without_a_key_by_its_id() -> None:
    first = arrival(envelope(b"1"))
    again = decode_event(envelope(b"1", idempotency_key=first.event_id, pikrun=RUN, pikstream="5f0c"), RULES)
    assert isinstance(again, Decoded)
    assert again.arrival == first
    other = arrival(envelope(b"1", idempotency_key=first.event_id))
    assert other.idempotency_key == first.event_id
    assert other.event_id != first.event_id


@pytest.mark.parametrize(
    "fields",
    [
        {"pikrun": RUN},
        {"pikstream": "5f0c"},
        {"pikrun": RUN, "pikstream": ""},
        {"pikrun": RUN.upper(), "pikstream": "5f0c"},
        {"pikrun": RUN + "\n", "pikstream": "5f0c"},
        {"pikrun": RUN[1:], "pikstream": "5f0c"},
        {"pikrun": 1, "pikstream": "5f0c"},
        {"pikrun": RUN, "pikstream": ["5f0c"]},
        {"pikrun": RUN, "pikstream": "5" * 65},
    ],
)
def test_what_is_no_marker_is_an_attribute(fields: dict[str, Any]) -> None:
    found = arrival(envelope(b"1", **fields))
    assert json.loads(found.attributes or "") == fields


@given(spelled(), st.none() | TEXT, TEXT, OTHERS)
def test_capture_replay_capture_is_byte_equal(
    payload: bytes, key: str | None, entity_id: str, others: dict[str, Any] | None
) -> None:
    first = arrival(
        envelope(
            payload,
            idempotency_key=key,
            entity_id=entity_id,
            event_time="2013-01-01t10:15:00.10z",
            **(others or {}),
        )
    )
    row = event(0, first.entity_id, data=first.data)._replace(
        event_id=first.event_id,
        source=first.source,
        event_type=first.event_type,
        event_time_text=first.event_time_text,
        idempotency_key=first.idempotency_key,
        attributes=first.attributes,
    )
    sent = cloud_events(columns([row]), RUN, "5f0c")[0].as_py().encode()
    again = decode_event(sent, RULES)
    assert isinstance(again, Decoded)
    assert again.claim == ReplayClaim("5f0c", RUN)
    assert again.arrival == first


def test_what_an_event_says_itself_comes_before_the_mapping() -> None:
    rules = IntakeRules(
        mapping=Mapping(idempotency_key=TextRule(("id",)), received_time=TextRule(("seen.at",)))
    )
    payload = b'{"id": 7.0, "seen": {"at": "2013-01-01T11:00:00Z"}}'
    mapped = arrival(envelope(payload), rules)
    assert mapped.idempotency_key == "7.0"
    assert mapped.received_time == parse_instant("2013-01-01T11:00:00Z")
    own = arrival(envelope(payload, idempotency_key="own"), rules)
    assert own.idempotency_key == "own"
    neither = arrival(envelope(b"[1]"), rules)
    assert neither.idempotency_key is None
    assert neither.received_time is None
