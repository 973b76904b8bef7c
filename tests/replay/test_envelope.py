"""What is sent is a CloudEvent that holds the captured bytes as they are."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.domain.decode import decode_cloud_event
from pik.domain.identity import event_id
from pik.domain.intake import Decoded, IntakeRules
from pik.planning.delivery_key import copy_mark, delivery_key
from pik.planning.envelope import cloud_events, delivery_keys
from pik.planning.json_columns import joined
from replay.slices import ReplayEvent, columns, event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def envelope(data: bytes, **changes: str | None) -> bytes:
    given_: dict[str, Any] = {
        "event_id": "i",
        "source": "s",
        "event_type": "t",
        "event_time_text": "2013-07-10T04:00:00Z",
        **changes,
    }
    [body] = cloud_events(columns([event(0, "e", data=data)._replace(**given_)]), "a" * 64, "st").to_pylist()
    return body.encode()


@given(JSON, st.text(), st.text())
def test_it_is_json_around_the_payloads_own_bytes(value: object, source: str, entity: str) -> None:
    data = b" \n" + orjson.dumps(value, option=orjson.OPT_INDENT_2)
    sent = envelope(data, source=source, entity_id=entity)
    assert sent.endswith(b',"data":' + data + b"}")
    read = orjson.loads(sent)
    assert (read["source"], read["subject"], read["data"]) == (source, entity, orjson.loads(data))


def test_attributes_are_carried_as_they_are() -> None:
    sent = envelope(b"{}", attributes='{"traceparent": "00-1", "attempt": 1.00, "final": true}')
    assert b'"traceparent": "00-1", "attempt": 1.00, "final": true,"data":{}}' in sent


@pytest.mark.parametrize(
    "attributes",
    [
        '{"id": "x", "traceparent": "00-1"}',
        '{"specversion": "0.3"}',
        '{"pikrun": "forged", "pikstream": "st"}',
        '{"data": 1}',
        '{"trace_id": "x"}',
        '{"nested": {"a": 1}}',
        '{"nothing": null}',
    ],
)
def test_attributes_that_cannot_stand_beside_ours_replace_nothing(attributes: str) -> None:
    read = orjson.loads(envelope(b"{}", attributes=attributes))
    assert (read["id"], read["specversion"], read["pikrun"], read["data"]) == ("i", "1.0", "a" * 64, {})
    assert read["pikattributes"] == attributes


def test_a_subject_of_the_producers_own_stays() -> None:
    read = orjson.loads(envelope(b"{}", attributes='{"subject": "theirs"}'))
    assert (read["subject"], read["entityid"]) == ("theirs", "e")


def test_the_producers_key_is_the_id() -> None:
    assert orjson.loads(envelope(b"1", idempotency_key="k"))["id"] == "k"


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["traceparent", "subject", "datacontenttype", "attempt"]), st.sampled_from(["x", "1"])
)


@given(NAMES, NAMES, NAMES | st.none(), ATTRIBUTES, JSON)
def test_capture_replay_capture_is_byte_equal(
    source: str, entity: str, key: str | None, attributes: dict[str, str], value: object
) -> None:
    attributes = {**attributes, **({"datacontenttype": "application/x+json"} if attributes else {})}
    rules = IntakeRules()
    first = {
        "specversion": "1.0",
        "id": "unused" if key is None else key,
        "source": source,
        "type": "t",
        "time": "2013-07-10t04:00:00.1200Z",
        "entityid": entity,
        **attributes,
    }
    body = orjson.dumps(first)[:-1] + b',"data":' + orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"}"
    [captured] = decode_cloud_event(body, rules)
    assert isinstance(captured, Decoded)
    was = captured.arrival
    if key is None:
        content = event_id(was.source, None, was.fingerprint)
        was = msgspec.structs.replace(was, idempotency_key=None, event_id=content)
    sent = envelope(
        was.data,
        event_id=was.event_id,
        source=was.source,
        event_type=was.event_type,
        entity_id=was.entity_id,
        event_time_text=was.event_time_text,
        idempotency_key=was.idempotency_key,
        attributes=was.attributes,
    )
    [again] = decode_cloud_event(sent, rules)
    assert isinstance(again, Decoded)
    assert again.claim is not None
    assert again.claim.run_id == "a" * 64
    assert again.arrival == was


def test_a_key_is_stable_within_a_run_and_another_in_every_other() -> None:
    keys = {
        delivery_key("a" * 64, "1" * 64),
        delivery_key("a" * 64, "2" * 64),
        delivery_key("b" * 64, "1" * 64),
        delivery_key("a" * 64, "1" * 64) + copy_mark("segment/1"),
        delivery_key("a" * 64, "1" * 64) + copy_mark("segment/2"),
    }
    assert len(keys) == 5
    assert max(map(len, keys)) <= 128  # of an SQS MessageDeduplicationId


def test_keys_of_many_are_the_keys_of_each() -> None:
    sent = [event(0), event(1)._replace(repeat=True), event(2)]
    keys = joined(*delivery_keys(columns(sent), "1" * 64)).to_pylist()
    first, copy, last = (delivery_key(e.event_id, "1" * 64) for e in sent)
    assert keys == [first, copy + copy_mark("s/1"), last]
    assert joined(*delivery_keys(columns(sent[:1]), "1" * 64)).to_pylist() == keys[:1]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(
    st.lists(
        st.builds(
            lambda source, kind, entity, key, attributes: event(1, entity)._replace(
                source=source, event_type=kind, idempotency_key=key, attributes=attributes
            ),
            *(TEXTS, TEXTS, TEXTS, TEXTS | st.none()),
            st.none() | st.sampled_from(['{"traceparent":"00-1"}', '{"subject":"s"}', '{"id":"x"}', "{}"]),
        ),
        max_size=6,
    ),
    st.integers(0, 3),
)
def test_envelopes_of_many_are_the_envelopes_of_each(sent: list[ReplayEvent], start: int) -> None:
    """Whatever stands beside an event in its columns, and wherever the columns begin."""
    whole = cloud_events(columns(sent).slice(start), "a" * 64, "st").to_pylist()
    assert whole == [cloud_events(columns([e]), "a" * 64, "st")[0].as_py() for e in sent[start:]]
    for body, e in zip(whole, sent[start:], strict=True):
        read = orjson.loads(body)
        names = (read["source"], read["type"], read["entityid" if "entityid" in read else "subject"])
        assert names == (e.source, e.event_type, e.entity_id)
