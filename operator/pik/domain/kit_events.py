"""The kit's own form of an event, and rows that a mapping makes events of.

    {"source": …, "event_type": …, "entity_id": …, "event_time": …, "payload": …, "idempotency_key": …}

The texts are strings (a number is not turned into one), `event_time` is RFC 3339 with an offset, `payload` is
any JSON value, null too. `idempotency_key` is optional. `pikrun` and `pikstream` are the replay marker.
Every other field is kept as an attribute. A field that stands twice rejects the event.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from pik.domain.cloud_events import structured_event
from pik.domain.intake import Decoded, IntakeRules, ReplayClaim, Said, assemble, claim_of
from pik.domain.json_text import Fields, read_object, take_text, text_of, write_object
from pik.domain.mapping import json_lookup
from pik.domain.payloads import NotAnEvent, Reason, check_payload


class Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event that has the kit's fields and no other."""

    source: str
    event_type: str
    entity_id: str
    event_time: str
    payload: Raw
    idempotency_key: str | None = None


_PLAIN = msgspec.json.Decoder(Plain)
FRAME = len('{"source":"","event_type":"","entity_id":"","event_time":"","payload":}')
KEY_FRAME = len(',"idempotency_key":""')


def kit_event(text: bytes | Raw, rules: IntakeRules) -> Decoded:
    """One event in the kit's form, or a CloudEvent (what has a `specversion` and no `payload`), from its JSON
    text. Raises `NotAnEvent`."""
    plain = _plain(text)
    if plain is None:
        return _any_event(text, rules)
    said = Said(plain.source, plain.event_type, plain.entity_id, plain.event_time, plain.idempotency_key)
    data = bytes(plain.payload)
    check_payload(data, rules.max_event_bytes)
    return assemble(said, data, rules)


def _plain(text: bytes | Raw) -> Plain | None:
    """The event, if it is written as most are: compact, in ASCII without escapes, each field once. It is as
    long as its parts then: white space, an escape, a letter beyond ASCII or a second field of a name would
    make it longer."""
    try:
        plain = _PLAIN.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    key = plain.idempotency_key
    size = FRAME + len(plain.source) + len(plain.event_type) + len(plain.entity_id) + len(plain.event_time)
    size += len(plain.payload) + (0 if key is None else KEY_FRAME + len(key))
    return plain if size == len(text) else None


def _any_event(text: bytes | Raw, rules: IntakeRules) -> Decoded:
    fields = read_object(text)
    payload = fields.pop("payload", None)
    if payload is None:
        if "specversion" in fields:
            return structured_event(fields, rules)
        raise NotAnEvent(Reason.MISSING_FIELD, "payload is missing")
    said = Said(
        take_text(fields, "source"),
        take_text(fields, "event_type"),
        take_text(fields, "entity_id"),
        take_text(fields, "event_time"),
        take_text(fields, "idempotency_key"),
    )
    data = bytes(payload)
    check_payload(data, rules.max_event_bytes)
    claim = take_claim(fields)
    return assemble(said, data, rules, attributes=write_object(fields) if fields else None, claim=claim)


def mapped_row(text: bytes | Raw, rules: IntakeRules) -> Decoded:
    """A JSON object that the stream's mapping makes an event of; its text is the payload. Raises
    `NotAnEvent`."""
    data = bytes(text)
    check_payload(data, rules.max_event_bytes)
    return assemble(Said(), data, rules, lookup=json_lookup(read_object(text, "a row")))


def take_claim(fields: Fields) -> ReplayClaim | None:
    """Removes the replay marker, where it is one; anything else of its names is an attribute like others."""
    if "pikrun" not in fields or "pikstream" not in fields:
        return None
    try:
        claim = claim_of(text_of(fields["pikstream"], "pikstream"), text_of(fields["pikrun"], "pikrun"))
    except NotAnEvent:
        return None
    if claim is not None:
        del fields["pikrun"], fields["pikstream"]
    return claim
