"""From a request's body to arrivals: which form it is in, and where one event ends and the next begins.

| content type                             | body                                                            |
|------------------------------------------|-----------------------------------------------------------------|
| `application/json`, `*/*+json`, absent   | an event, an array of them, or `{"events": […]}`; see below     |
| `application/x-ndjson`, `…/jsonl`, …     | an event a line                                                 |
| `application/cloudevents+json`           | one CloudEvent                                                  |
| `application/cloudevents-batch+json`     | an array of CloudEvents                                         |
| JSON or absent, with `ce-` headers       | one CloudEvent's data (HTTP binary mode)                        |

In the first two an event is in the kit's form or a CloudEvent, or, where the stream's mapping takes rows, a
row. What is wrong with one event rejects that event alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from msgspec import Raw

from pik.domain.cloud_events import Headers, binary_event, is_json, structured_event
from pik.domain.columns import Columns
from pik.domain.errors import BatchTooLarge, MalformedBatch, UnsupportedMediaType
from pik.domain.intake import MAX_BATCH_EVENTS, Decoded, Intake, IntakeRules
from pik.domain.json_text import SPACE, read_batch, read_object, split_lines
from pik.domain.kit_events import kit_event, mapped_row
from pik.domain.payloads import NotAnEvent
from pik.domain.plain_batches import plain_batch

_LINES = frozenset(
    f"application/{name}" for name in ("x-ndjson", "ndjson", "jsonl", "x-jsonl", "jsonlines", "x-jsonlines")
)
_PLAIN = "application/json"
_STRUCTURED = "application/cloudevents+json"
_BATCHED = "application/cloudevents-batch+json"
Read = Callable[[bytes | Raw, IntakeRules], Decoded]


def decode_request(
    body: bytes, rules: IntakeRules, content_type: str | None = None, headers: Headers = ()
) -> list[Intake]:
    """One `Decoded` or `Rejection` for each event of an HTTP request, in order.

    Raises `BatchTooLarge`, `UnsupportedMediaType` and `MalformedBatch`: then nothing was taken.
    """
    media_type = _media_type(content_type)
    if media_type in _LINES:
        return decode_lines(body, rules)
    if content_type is not None and not is_json(content_type):
        raise UnsupportedMediaType(f"events do not come as {content_type[:64]!r}")
    if media_type == _STRUCTURED:
        return decode_cloud_event(body, rules)
    if media_type == _BATCHED:
        return decode_cloud_events(body, rules)
    headers = list(headers)
    if _is_binary(headers):
        _bound(body, rules)
        return _each(
            [body], lambda text, rules: binary_event(headers, content_type, bytes(text), rules), rules
        )
    return decode_json(body, rules)


def decode_batch(
    body: bytes,
    rules: IntakeRules,
    content_type: str | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Columns | list[Intake]:
    """The same, in columns where all of it is written as most is. Raises as `decode_request`."""
    columns, form = None, _form(content_type)
    if form is _Form.LINES or (form is _Form.JSON and not _is_binary(headers)):
        columns = plain_batch(body, rules, lines=form is _Form.LINES)
    return decode_request(body, rules, content_type, headers) if columns is None else columns


class _Form(Enum):
    LINES = 1
    JSON = 2
    OTHER = 3


def _form(content_type: str | None) -> _Form:
    """Of a body that may be plain."""
    if content_type is None or content_type == _PLAIN:
        return _Form.JSON
    media_type = _media_type(content_type)
    if media_type in _LINES:
        return _Form.LINES
    return _Form.JSON if media_type == _PLAIN and is_json(content_type) else _Form.OTHER


def decode_json(body: bytes, rules: IntakeRules) -> list[Intake]:
    """A JSON text: one event, an array of them, or an object whose only field is `events`, such an array.

    Raises `BatchTooLarge` and `MalformedBatch`.
    """
    _bound(body, rules)
    return _each(_elements(body), _reader(rules), rules)


def decode_lines(body: bytes, rules: IntakeRules) -> list[Intake]:
    """NDJSON: an event a line; blank lines are none. Raises `BatchTooLarge`."""
    _bound(body, rules)
    return _each(split_lines(body), _reader(rules), rules)


def decode_cloud_event(body: bytes, rules: IntakeRules) -> list[Intake]:
    """A structured CloudEvent, in a list of one. Raises `BatchTooLarge` and `MalformedBatch`."""
    _bound(body, rules)
    return _each(_single(body), _cloud_event, rules)


def decode_cloud_events(body: bytes, rules: IntakeRules) -> list[Intake]:
    """A batch of structured CloudEvents. Raises `BatchTooLarge` and `MalformedBatch`."""
    _bound(body, rules)
    elements = read_batch(body)
    if elements is None:
        raise MalformedBatch("a batch of CloudEvents is a JSON array")
    return _each(elements, _cloud_event, rules)


def decode_event(text: bytes | Raw, rules: IntakeRules) -> Intake:
    """One event, or one row of a stream whose mapping takes rows, from its own JSON text."""
    return _each([text], _reader(rules), rules)[0]


def _media_type(content_type: str | None) -> str:
    return "" if content_type is None else content_type.partition(";")[0].strip().lower()


def _is_binary(headers: Headers) -> bool:
    """Whether the body is the data of a CloudEvent whose attributes are headers."""
    return any(name.lower() == b"ce-specversion" for name, _ in headers)


def _reader(rules: IntakeRules) -> Read:
    return mapped_row if rules.takes_rows else kit_event


def _cloud_event(text: bytes | Raw, rules: IntakeRules) -> Decoded:
    return structured_event(read_object(text), rules)


def _elements(body: bytes) -> Sequence[bytes | Raw]:
    elements = read_batch(body)
    return _single(body) if elements is None else elements


def _single(body: bytes) -> list[bytes]:
    text = body.strip(SPACE)
    if not text:
        raise MalformedBatch("the body is empty")
    return [text]


def _each(texts: Sequence[bytes | Raw], read: Read, rules: IntakeRules) -> list[Intake]:
    if len(texts) > MAX_BATCH_EVENTS:
        raise BatchTooLarge(f"{len(texts)} events at once; {MAX_BATCH_EVENTS} are taken")
    results: list[Intake] = []
    for text in texts:
        try:
            results.append(read(text, rules))
        except NotAnEvent as error:
            results.append(error.rejection)
    return results


def _bound(body: bytes, rules: IntakeRules) -> None:
    if len(body) > rules.max_batch_bytes:
        raise BatchTooLarge(f"the body has {len(body)} bytes; {rules.max_batch_bytes} are taken")
