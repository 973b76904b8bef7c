"""CloudEvents 1.0 in JSON: structured, and in HTTP binary mode (spec v1.0.2, JSON format and HTTP binding).

| attribute             | becomes                                                                          |
|-----------------------|----------------------------------------------------------------------------------|
| `id`                  | idempotency key                                                                  |
| `source`              | source                                                                           |
| `type`                | event type                                                                       |
| `time`                | event time; required here, unless a mapping gives it                             |
| extension `entityid`  | entity id                                                                        |
| `subject`             | entity id where there is no `entityid`, else an attribute                        |
| `pikrun`, `pikstream` | the replay marker (design: law 10)                                               |
| `pikattributes`       | beside a marker: the JSON object of the attributes that were stored              |
| `data`                | payload, the bytes as they came; absent: null                                    |
| `datacontenttype`     | must be JSON; kept as an attribute where it is not plain `application/json`      |
| `data_base64`         | refused: a payload is JSON, and binary data in it would be another text          |
| all others            | attributes as they came, also where CloudEvents would not have the name or type  |

The `cloudevents` package is the oracle of the tests. It is not used here: it parses data (its bytes are then
gone), reads `time` to microseconds, and makes up an id and a time where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

import orjson

from pik.domain.intake import Decoded, IntakeRules, Said, assemble, claim_of
from pik.domain.json_text import SPACE, Fields, read_object, take_text, write_object
from pik.domain.payloads import NotAnEvent, Reason, check_payload

SPEC_VERSION = "1.0"
Headers = Iterable[tuple[bytes, bytes]]
"""Names and values of HTTP headers as they came, names in any case."""

_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_PLAIN = "application/json"
_DELIVERY = ("pikkey", "pikreplay")
"""Of a delivery, and not of the event."""
_TEXTS = ("source", "type", "entityid", "time", "id", "pikstream", "pikrun", "pikattributes", "subject")
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})


def structured_event(fields: Fields, rules: IntakeRules) -> Decoded:
    """A CloudEvent from the fields of its JSON object, which are used up. Raises `NotAnEvent`."""
    _check_version(take_text(fields, "specversion"))
    if "data_base64" in fields:
        raise NotAnEvent(Reason.UNSUPPORTED_CONTENT, "data_base64 is not taken: a payload is JSON")
    content_type = take_text(fields, "datacontenttype")
    raw = fields.pop("data", None)
    data = b"null" if raw is None else bytes(raw)
    check_payload(data, rules.max_event_bytes)
    texts = {name: text for name in _TEXTS if (text := take_text(fields, name)) is not None}
    return _event(texts, content_type, data, fields, rules)


def binary_event(headers: Headers, content_type: str | None, body: bytes, rules: IntakeRules) -> Decoded:
    """A CloudEvent whose attributes are `ce-` headers and whose data is the body. Raises `NotAnEvent`."""
    texts: dict[str, str] = {}
    for raw_name, value in headers:
        header = raw_name.decode("latin-1").lower()
        if not header.startswith("ce-"):
            continue
        name = header.removeprefix("ce-")
        if name in texts:
            raise NotAnEvent(Reason.DUPLICATE_FIELD, f"the header {header[:64]!r} stands twice")
        texts[name] = _header_text(value, header)
    _check_version(texts.pop("specversion", None))
    data = body.strip(SPACE) or b"null"
    check_payload(data, rules.max_event_bytes)
    return _event(texts, content_type, data, {}, rules)


def is_json(content_type: str) -> bool:
    """Whether a media type is JSON (CloudEvents: subtype `json` or `+json`) in UTF-8."""
    media_type, *parameters = content_type.lower().split(";")
    subtype = media_type.strip().partition("/")[2]
    named = (parameter.partition("=") for parameter in parameters)
    charsets = {value.strip(' "') for name, _, value in named if name.strip() == "charset"}
    return (subtype == "json" or subtype.endswith("+json")) and charsets <= _CHARSETS


def _check_version(version: str | None) -> None:
    if version is None:
        raise NotAnEvent(Reason.MISSING_FIELD, "specversion is missing or null")
    if version != SPEC_VERSION:
        raise NotAnEvent(Reason.UNSUPPORTED_VERSION, f"CloudEvents {version[:16]!r}; {SPEC_VERSION} is taken")


def _event(
    texts: dict[str, str], content_type: str | None, data: bytes, others: Fields, rules: IntakeRules
) -> Decoded:
    """`texts`: attributes that are strings; `others`: the rest, as JSON. Both are used up."""
    if content_type is not None and not is_json(content_type):
        raise NotAnEvent(Reason.UNSUPPORTED_CONTENT, f"data of {content_type[:64]!r}: JSON in UTF-8 is taken")
    if "id" not in texts:
        raise NotAnEvent(Reason.MISSING_FIELD, "id is missing or null")
    source, event_type, time = texts.pop("source", None), texts.pop("type", None), texts.pop("time", None)
    entity_id = texts.pop("entityid" if "entityid" in texts else "subject", None)
    key = texts.pop("id")
    claim = claim_of(texts.get("pikstream"), texts.get("pikrun"))
    stored = None
    if claim is not None:
        del texts["pikstream"], texts["pikrun"]
        stored = texts.pop("pikattributes", None)
        for named in (texts, others):
            for name in _DELIVERY:
                named.pop(name, None)
    if content_type is not None and content_type != _PLAIN:
        texts["datacontenttype"] = content_type
    return assemble(
        Said(source, event_type, entity_id, time, key),
        data,
        rules,
        attributes=_attributes(stored, texts, others),
        claim=claim,
    )


def _attributes(stored: str | None, texts: dict[str, str], others: Fields) -> bytes | None:
    parts = []
    if stored is not None:
        read_object(stored.encode(), "pikattributes")
        parts.append(stored.encode().strip(SPACE)[1:-1])
    if texts:
        parts.append(orjson.dumps(texts)[1:-1])
    if others:
        parts.append(write_object(others)[1:-1])
    return b"{" + b",".join(parts) + b"}" if parts else None


def _header_text(value: bytes, header: str) -> str:
    """HTTP binding 3.1.3.2: quoted strings are unquoted, then one round of percent-decoding."""
    if len(value) >= 2 and value[:1] == value[-1:] == b'"':
        value = _ESCAPED.sub(rb"\1", value[1:-1])
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise NotAnEvent(
            Reason.INVALID_UTF8, f"the header {header[:64]!r} is not UTF-8: {error.reason}"
        ) from error
