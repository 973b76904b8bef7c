"""What a CaptureStream's spec says of its events, in the words of the decoder."""

from __future__ import annotations

from pik.api.capture_stream import CaptureStreamSpec
from pik.api.mapping import EventMapping, KeyMapping, TextMapping, TimeMapping
from pik.domain.intake import IntakeRules
from pik.domain.mapping import Mapping, TextRule


def intake_rules(spec: CaptureStreamSpec) -> IntakeRules:
    """The bounds and the mapping of a stream."""
    return IntakeRules(
        max_event_bytes=spec.ingest.maxEventBytes,
        max_batch_bytes=spec.ingest.maxBatchBytes,
        exclude=fingerprint_exclude(spec),
        headers=spec.ingest.headers or (),
        mapping=None if spec.mapping is None else _mapping(spec.mapping),
    )


def fingerprint_exclude(spec: CaptureStreamSpec) -> tuple[str, ...]:
    """Dot paths into the payload that its fingerprint leaves out."""
    if spec.mapping is None or spec.mapping.fingerprint is None:
        return ()
    return spec.mapping.fingerprint.exclude


def _mapping(mapping: EventMapping) -> Mapping:
    return Mapping(
        entity_id=text_rule(mapping.entityID),
        event_time=text_rule(mapping.eventTime),
        event_type=text_rule(mapping.eventType),
        source=text_rule(mapping.source),
        idempotency_key=text_rule(mapping.idempotencyKey),
        received_time=text_rule(mapping.receivedTime),
    )


def text_rule(given: TextMapping | KeyMapping | TimeMapping | None) -> TextRule | None:
    match given:
        case None:
            return None
        case TimeMapping():
            return TextRule(paths=given.paths)
    value = given.value if isinstance(given, TextMapping) else None
    if given.join is None:
        return TextRule(paths=given.paths or (), value=value)
    return TextRule(given.paths or (), given.join.paths, given.join.separator, value)
