"""From what was said of an event to an `Arrival`."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256

import msgspec
import orjson

from pik.domain.arrivals import Arrival, Rejection
from pik.domain.identity import event_id, fingerprint
from pik.domain.instants import MAX_TEXT, Instant, InvalidInstant, parse_instant
from pik.domain.mapping import Lookup, Mapping, TextRule, payload_lookup
from pik.domain.payloads import (
    MAX_ATTRIBUTES_BYTES,
    MAX_KEY_BYTES,
    NotAnEvent,
    Reason,
    check_json,
    check_name,
)

MAX_BATCH_EVENTS = 50_000
_RUN_ID = re.compile(r"[0-9a-f]{64}")
_MAX_STREAM_ID = 64


class IntakeRules(msgspec.Struct, frozen=True):
    """What a stream takes. `exclude`: dot paths that its fingerprints leave out. `headers`: names of those of
    HTTP requests that are kept."""

    max_event_bytes: int = 262_144  # of a payload
    max_batch_bytes: int = 10_485_760  # of a request's body
    exclude: tuple[str, ...] = ()
    mapping: Mapping | None = None
    headers: tuple[str, ...] = ()

    @property
    def takes_rows(self) -> bool:
        """Whether JSON that comes in is rows to be mapped, and not events in pik's own form."""
        return self.mapping is not None and self.mapping.takes_rows


class ReplayClaim(msgspec.Struct, frozen=True, gc=False):
    """An arrival says that a replay of this stream sent it. It counts only if the run's record exists (law
    10): whoever has the bucket at hand decides."""

    stream_id: str
    run_id: str


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """A valid arrival, with the claim that came with it. `arrival.replay_of` is None."""

    arrival: Arrival
    claim: ReplayClaim | None = None

    def as_replay(self) -> Arrival:
        """The arrival of a claim that was found true."""
        if self.claim is None:
            raise ValueError("an arrival without a claim is no replay")
        return msgspec.structs.replace(self.arrival, replay_of=self.claim.run_id)

    def as_ordinary(self) -> Arrival:
        """The arrival as one like others. A claim that was found false stays visible in its attributes."""
        if self.claim is None:
            return self.arrival
        claim = {"pikrun": self.claim.run_id, "pikstream": self.claim.stream_id}
        others = self.arrival.attributes
        text = orjson.dumps(claim).decode()
        if others is not None:
            text = f"{others[:-1]},{text[1:]}"
        return msgspec.structs.replace(self.arrival, attributes=text)


Intake = Decoded | Rejection
"""What one input becomes."""


class Said(msgspec.Struct, frozen=True, gc=False):
    """What an event says of itself; None is what it does not say."""

    source: str | None = None
    event_type: str | None = None
    entity_id: str | None = None
    event_time: str | None = None
    idempotency_key: str | None = None


def assemble(
    said: Said,
    data: bytes,
    rules: IntakeRules,
    *,
    lookup: Lookup | None = None,
    attributes: bytes | None = None,
    claim: ReplayClaim | None = None,
    parse: Callable[[str], Instant] = parse_instant,
) -> Decoded:
    """The arrival of a checked payload. What the event does not say itself is looked up by the mapping, in
    the payload unless `lookup` says where. `parse` may remember what it has parsed.

    Raises `NotAnEvent`.
    """
    received_time = None
    if rules.mapping is not None:
        lookup = lookup or payload_lookup(data)
        said = _completed(said, rules.mapping, lookup)
        received = _mapped(None, rules.mapping.received_time, lookup)
        received_time = None if received is None else _instant(received, "received_time", parse)
    source = _required(said.source, "source")
    event_type = _required(said.event_type, "event_type")
    entity_id = _required(said.entity_id, "entity_id")
    event_time_text = said.event_time
    if event_time_text is None:
        raise NotAnEvent(Reason.MISSING_FIELD, "event_time is missing or null")
    event_time = _instant(event_time_text, "event_time", parse)
    key = said.idempotency_key
    content = fingerprint(event_type, entity_id, event_time, data, rules.exclude)
    if key is not None:
        check_name(key, "idempotency_key", MAX_KEY_BYTES)
        # a replay names an event that has no key by its event id, and so it has none again
        if claim is not None and key == event_id(source, None, content):
            key = None
    return Decoded(
        Arrival(
            event_id(source, key, content),
            source,
            event_type,
            entity_id,
            event_time,
            event_time_text,
            received_time,
            key,
            sha256(data).hexdigest(),
            content,
            data,
            None if attributes is None else _attributes(attributes),
        ),
        claim,
    )


def claim_of(stream_id: str | None, run_id: str | None) -> ReplayClaim | None:
    """The replay marker that these texts are, if they are one."""
    if stream_id and run_id and len(stream_id) <= _MAX_STREAM_ID and _RUN_ID.fullmatch(run_id):
        return ReplayClaim(stream_id, run_id)
    return None


def _completed(said: Said, mapping: Mapping, lookup: Lookup) -> Said:
    return Said(
        _mapped(said.source, mapping.source, lookup),
        _mapped(said.event_type, mapping.event_type, lookup),
        _mapped(said.entity_id, mapping.entity_id, lookup),
        _mapped(said.event_time, mapping.event_time, lookup),
        _mapped(said.idempotency_key, mapping.idempotency_key, lookup),
    )


def _mapped(said: str | None, rule: TextRule | None, lookup: Lookup) -> str | None:
    return rule.text(lookup) if said is None and rule is not None else said


def _required(text: str | None, field: str) -> str:
    if text is None:
        raise NotAnEvent(Reason.MISSING_FIELD, f"{field} is missing or null")
    check_name(text, field)
    return text


def _instant(text: str, field: str, parse: Callable[[str], Instant]) -> Instant:
    if not text:
        raise NotAnEvent(Reason.EMPTY_FIELD, f"{field} is empty")
    try:
        return parse(text)
    except InvalidInstant as error:
        shown = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
        raise NotAnEvent(Reason.INVALID_TIME, f"{field} {shown!r}: {error}") from error


def _attributes(text: bytes) -> str:
    if len(text) > MAX_ATTRIBUTES_BYTES:
        raise NotAnEvent(
            Reason.ATTRIBUTES_TOO_LARGE,
            f"the attributes have {len(text)} bytes; {MAX_ATTRIBUTES_BYTES} are taken",
        )
    check_json(text, "the attributes")
    return text.decode()
