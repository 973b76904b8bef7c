"""Batches of plain events into columns: the same as `decode` makes of them, without an object for each.

Plain is what most producers write: the kit's fields and no others, compact, names in ASCII without escapes,
in a stream without a mapping and without fields that its fingerprints leave out. What is anything else, or
has something wrong in it, is left to `decode`, which says what it is.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

import msgspec
import orjson

from pik.domain.columns import Columns
from pik.domain.instants import EPOCH, InvalidInstant, parse_instant
from pik.domain.intake import MAX_BATCH_EVENTS, IntakeRules
from pik.domain.kit_events import FRAME, KEY_FRAME, Plain
from pik.domain.payloads import MAX_DEPTH, MAX_KEY_BYTES, MAX_NAME_BYTES


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    events: list[Plain]


_BATCH = msgspec.json.Decoder(_Batch)
_ARRAY = msgspec.json.Decoder(list[Plain])
_LINE = msgspec.json.Decoder(Plain)
_WRAPPED, _BRACKETS = len('{"events":[]}'), len("[]")
_SPELLED = re.compile(r"""[^ !#-\[\]-\x7f]""")  # what JSON may write in more ways than one, or in more bytes
_SHORTEST, _LONGEST = len("2013-07-10T04:00:00Z"), len("2013-07-10T04:00:00.000000Z")
_SECOND = r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
# Lines of instants of one width that need no conversion.
_IN_UTC = {
    width: re.compile(rf"(?:{_SECOND}{fraction}Z\n)+", re.ASCII)
    for width, fraction in [
        (_SHORTEST, ""),
        *((_SHORTEST + 1 + digits, rf"\.\d{{{digits}}}") for digits in range(1, 7)),
    ]
}


def plain_batch(body: bytes, rules: IntakeRules, *, lines: bool = False) -> Columns | None:
    """The events of a body of JSON, or of NDJSON with `lines`; None where not all of it is plain and
    right."""
    if rules.mapping is not None or rules.exclude or len(body) > rules.max_batch_bytes:
        return None
    try:
        events, around = _read(body, lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not 0 < len(events) <= MAX_BATCH_EVENTS:
        return None
    sources = [event.source for event in events]
    types = [event.event_type for event in events]
    entities = [event.entity_id for event in events]
    times = [event.event_time for event in events]
    keys = [event.idempotency_key for event in events]
    data = [bytes(event.payload) for event in events]
    some = [key for key in keys if key is not None]
    # The body is as long as what is around its events and their parts: so each event is as long as its parts,
    # for what is not plain only makes it longer.
    parts = sum(sum(map(len, texts)) for texts in (sources, types, entities, times, some, data))
    if around + len(events) * FRAME + len(some) * KEY_FRAME + parts != len(body):
        return None
    names = [set(texts) for texts in (sources, types, entities)]
    named = all(_are_names(texts, MAX_NAME_BYTES) for texts in names) and _are_names(some, MAX_KEY_BYTES)
    if not named or not _are_payloads(data, rules.max_event_bytes):
        return None
    read = _instants(times)
    if read is None:
        return None
    micros, rests, exact = read
    contents = _fingerprints(types, entities, exact, data)
    count = len(events)
    return Columns(
        event_id=_event_ids(sources, keys, contents),
        source=sources,
        event_type=types,
        entity_id=entities,
        event_micros=micros,
        event_rest=rests,
        event_time_text=times,
        received_time=[None] * count,
        idempotency_key=keys,
        payload_sha256=[sha256(payload).hexdigest() for payload in data],
        fingerprint=contents,
        data=data,
        attributes=[None] * count,
        replay_of=[None] * count,
        headers=[None] * count,
    )


def _read(body: bytes, lines: bool) -> tuple[list[Plain], int]:
    """The events, and how many bytes are in none of them where there is no white space around and between
    them. Raises what msgspec does."""
    if lines:
        events = _LINE.decode_lines(body)
        # to msgspec these are one value after another, wherever breaks are. Within a value no brace closes
        # before a break and opens after it: so many breaks lie between two events, and there are no others
        between = len(events) - 1
        around = between + body.endswith(b"\n")
        whole = body.count(b"}\n{") == between and body.count(b"\n") == around
        return events if whole else [], around
    if body.startswith(b"["):
        events = _ARRAY.decode(body)
        return events, _BRACKETS + len(events) - 1
    events = _BATCH.decode(body).events
    return events, _WRAPPED + len(events) - 1


def _are_names(texts: Sequence[str] | set[str], max_bytes: int) -> bool:
    """As `payloads.check_name` has it; False also for what is not plain: nothing that goes into a hash relies
    upon lengths alone."""
    short = "" not in texts and max(map(len, texts), default=0) <= max_bytes
    return short and _SPELLED.search("".join(texts)) is None


def _are_payloads(data: Sequence[bytes], max_bytes: int) -> bool:
    """As `payloads.check_payload` has it; False where one may be too deep."""
    longest = max(map(len, data))
    if longest > max_bytes:
        return False
    try:
        deque(map(orjson.loads, data), maxlen=0)
    except orjson.JSONDecodeError:
        return False
    # each level has a bracket at both ends
    return longest <= 2 * MAX_DEPTH or all(
        len(payload) <= 2 * MAX_DEPTH or payload.count(b"[") + payload.count(b"{") <= MAX_DEPTH
        for payload in data
    )


def _instants(texts: Sequence[str]) -> tuple[list[int], list[str], list[str]] | None:
    """Microseconds, the digits beyond them, and the exact text of each; None where one is no instant."""
    width = len(texts[0])
    in_utc = _IN_UTC.get(width)
    if in_utc is not None and in_utc.fullmatch("\n".join([*texts, ""])):
        # the form in which an instant is fingerprinted, but for how many digits
        more = ".000000Z" if width == _SHORTEST else "0" * (_LONGEST - width) + "Z"
        try:
            found = [datetime.fromisoformat(text) - EPOCH for text in texts]
        except ValueError:
            return None
        return (
            [(each.days * 86_400 + each.seconds) * 1_000_000 + each.microseconds for each in found],
            [""] * len(texts),
            [text[:-1] + more for text in texts],
        )
    try:
        instants = [parse_instant(text) for text in texts]
    except InvalidInstant:
        return None
    return (
        [instant.micros for instant in instants],
        [instant.rest for instant in instants],
        [instant.exact_text for instant in instants],
    )


def _fingerprints(
    types: Sequence[str], entities: Sequence[str], times: Sequence[str], data: Sequence[bytes]
) -> list[str]:
    """`identity.fingerprint` of each: of plain texts orjson writes just this."""
    return [
        sha256(f'["{event_type}","{entity}","{time}"]\n'.encode() + payload).hexdigest()
        for event_type, entity, time, payload in zip(types, entities, times, data, strict=True)
    ]


def _event_ids(sources: Sequence[str], keys: Sequence[str | None], contents: Sequence[str]) -> list[str]:
    """`identity.event_id` of each."""
    return [
        sha256(
            (
                f'["pik/1","content","{source}","{content}"]'
                if key is None
                else f'["pik/1","key","{source}","{key}"]'
            ).encode()
        ).hexdigest()
        for source, key, content in zip(sources, keys, contents, strict=True)
    ]
