"""What an envelope of EventBridge becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pik.domain.event_bridge import event_bridge_event
from pik.domain.intake import IntakeRules, ReplayClaim
from pik.domain.mapping import Mapping, TextRule
from pik.domain.payloads import NotAnEvent, Reason

ENVELOPE = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "order.paid",
    "source": "shop",
    "account": "123456789012",
    "time": "2015-10-08T16:53:06Z",
    "region": "us-east-1",
    "resources": [],
    "detail": {"order": {"id": "o-1"}, "at": "2015-10-08T16:00:00Z", "n": 1.50},
}
ENTITY = TextRule(paths=("order.id",))


def text(**changes: Any) -> bytes:
    return json.dumps({**ENVELOPE, **changes}).encode()


def test_what_the_envelope_says() -> None:
    found = event_bridge_event(text(), IntakeRules(), ENTITY)
    arrival = found.arrival
    assert (arrival.source, arrival.event_type, arrival.entity_id) == ("shop", "order.paid", "o-1")
    assert arrival.event_time_text == "2015-10-08T16:53:06Z"
    assert arrival.idempotency_key == ENVELOPE["id"]
    assert found.claim is None
    kept = {name: ENVELOPE[name] for name in ("version", "account", "region", "resources")}
    assert json.loads(arrival.attributes or "") == kept


def test_the_payload_is_detail_by_its_bytes() -> None:
    data = b'{"order": {"id":"o-1"},  "n":12345678901234567890.10, "s":"\\u00e9"}'
    whole = text(detail="@").replace(b'"@"', data)
    assert event_bridge_event(whole, IntakeRules(), ENTITY).arrival.data == data


def test_a_mapping_comes_first_and_what_it_replaces_is_kept() -> None:
    mapping = Mapping(
        entity_id=TextRule(paths=("order.id",)),
        event_time=TextRule(paths=("at", "never")),
        event_type=TextRule(paths=("never",)),
        source=TextRule(value="the-shop"),
    )
    arrival = event_bridge_event(text(), IntakeRules(mapping=mapping), TextRule(value="x")).arrival
    assert (arrival.source, arrival.event_type, arrival.entity_id) == ("the-shop", "order.paid", "o-1")
    assert arrival.event_time_text == "2015-10-08T16:00:00Z"
    kept = json.loads(arrival.attributes or "")
    assert (kept["source"], kept["time"]) == ("shop", ENVELOPE["time"])
    assert "id" not in kept


def test_a_replay_by_a_bus_is_the_event_that_it_was() -> None:
    claim = ReplayClaim("a" * 32, "b" * 64)
    event = {
        "specversion": "1.0",
        "id": "k",
        "source": "s",
        "type": "t",
        "time": "2013-07-10T04:00:00Z",
        "pikrun": claim.run_id,
        "pikstream": claim.stream_id,
        "subject": "e",
        "data": {"n": 1},
    }
    found = event_bridge_event(text(detail=event), IntakeRules())
    assert found.claim == claim
    assert (found.arrival.source, found.arrival.idempotency_key) == ("s", "k")
    assert json.loads(found.arrival.data) == {"n": 1}
    # one that only looks like it is a payload like others
    del event["pikstream"]
    assert event_bridge_event(text(detail=event), IntakeRules(), TextRule(value="e")).arrival.source == "shop"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", Reason.WRONG_TYPE),
        (b"{", Reason.INVALID_JSON),
        (b'{"source": "s"}', Reason.MISSING_FIELD),
        (text(time="noon"), Reason.INVALID_TIME),
        (text(source=None), Reason.MISSING_FIELD),
        (text(detail={"order": {}}), Reason.MISSING_FIELD),
        (text(detail={"order": {"id": [1]}}), Reason.WRONG_TYPE),
        (text(detail={"order": {"id": "x"}, "large": "x" * 300_000}), Reason.PAYLOAD_TOO_LARGE),
        (text()[:-1] + b',"id":"again"}', Reason.DUPLICATE_FIELD),
    ],
)
def test_what_is_no_event(body: bytes, reason: Reason) -> None:
    with pytest.raises(NotAnEvent) as caught:
        event_bridge_event(body, IntakeRules(), ENTITY)
    assert caught.value.rejection.reason == reason
