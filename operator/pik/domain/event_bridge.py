"""Events of Amazon EventBridge, as a rule hands them to a queue or a stream: an envelope around `detail`.

| field         | becomes                                                                                   |
|---------------|-------------------------------------------------------------------------------------------|
| `detail`      | payload, the bytes as they came                                                           |
| `id`          | idempotency key: EventBridge delivers an event once or more under one id                  |
| `time`        | event time                                                                                |
| `source`      | source                                                                                    |
| `detail-type` | event type                                                                                |
| all others    | attributes, and of the four those in whose place a mapping found something in `detail`    |

What a stream's mapping finds in `detail` comes first. An envelope says nothing of an entity: a mapping does,
or whoever declares where the events come from. A detail that is a CloudEvent with the replay marker is that
event: a replay of pik was sent to a bus.
"""

from __future__ import annotations

from pik.domain.cloud_events import structured_event
from pik.domain.intake import Decoded, IntakeRules, Said, assemble
from pik.domain.json_text import Fields, read_object, take_text, write_object
from pik.domain.mapping import Mapping, TextRule, payload_lookup
from pik.domain.payloads import NotAnEvent, Reason, check_payload

_MARKED = frozenset({"specversion", "pikrun", "pikstream"})


def event_bridge_event(text: bytes, rules: IntakeRules, entity: TextRule | None = None) -> Decoded:
    """One event from its envelope. `entity`: where in `detail` the entity is, if no mapping finds it. Raises
    `NotAnEvent`."""
    envelope = read_object(text, "an EventBridge event")
    detail = envelope.pop("detail", None)
    if detail is None:
        raise NotAnEvent(Reason.MISSING_FIELD, "detail is missing: not an EventBridge event")
    data = bytes(detail)
    if (replayed := _replayed(data)) is not None:
        return structured_event(replayed, rules)
    check_payload(data, rules.max_event_bytes)
    lookup = payload_lookup(data)
    mapping = rules.mapping or Mapping()

    def found(rule: TextRule | None) -> str | None:
        return None if rule is None else rule.text(lookup)

    def said(rule: TextRule | None, field: str) -> str | None:
        mapped = found(rule)
        return take_text(envelope, field) if mapped is None else mapped

    event = Said(
        source=said(mapping.source, "source"),
        event_type=said(mapping.event_type, "detail-type"),
        entity_id=found(mapping.entity_id) or found(entity),
        event_time=said(mapping.event_time, "time"),
        idempotency_key=said(mapping.idempotency_key, "id"),
    )
    attributes = write_object(envelope) if envelope else None
    return assemble(event, data, rules, lookup=lookup, attributes=attributes)


def _replayed(data: bytes) -> Fields | None:
    """The CloudEvent that a detail is, if a replay sent it."""
    if b'"pikrun"' not in data or not data.startswith(b"{"):
        return None
    fields = read_object(data, "detail")
    return fields if fields.keys() >= _MARKED else None
