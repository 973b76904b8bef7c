"""Reading JSON without losing its bytes: objects field by field, arrays element by element.

msgspec's `Raw` is a view of the bytes it was read from. It checks the syntax, not strings (UTF-8, surrogates)
nor the range of numbers: whatever is kept goes through `payloads.check_json`.
"""

from __future__ import annotations

import json
import re

import msgspec
from msgspec import Raw

from pik.domain.errors import MalformedBatch
from pik.domain.payloads import NotAnEvent, Reason, check_json

Fields = dict[str, Raw]
"""An object's fields in their order, each value as its own bytes."""

_FIELDS = msgspec.json.Decoder(Fields)
_ELEMENTS = msgspec.json.Decoder(list[Raw])
_TEXT = msgspec.json.Decoder(str | None)
SPACE = b" \t\r\n"
_FAILED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# strings are one token, so that brackets and commas within them are none
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{},]', re.DOTALL)
_ONLY_EVENTS = re.compile(rb'\s*\{\s*"events"\s*:\s*(\[.*\])\s*\}\s*', re.DOTALL)


def read_object(text: bytes | Raw, what: str = "an event") -> Fields:
    """The fields of a JSON object. Raises `NotAnEvent`: not JSON, not an object, or a name stands twice."""
    try:
        fields = _FIELDS.decode(text)
    except msgspec.ValidationError as error:
        raise NotAnEvent(Reason.WRONG_TYPE, f"{what} must be a JSON object") from error
    except _FAILED as error:
        check_json(bytes(text), what)
        raise NotAnEvent(Reason.INVALID_JSON, f"{what} is not JSON: {error}") from error
    # A field takes its name, its value, two quotes, a colon and a comma or brace. What is longer than its
    # fields has white space or escapes, or a field behind another of the same name.
    compact = 1 + 4 * len(fields)
    for name, value in fields.items():
        compact += len(name) + len(value)
    excess = len(text) - compact
    if excess and fields and not (excess == 2 * len(fields) - 1 and _spaced(fields) == bytes(text)):
        _refuse_duplicates(bytes(text), fields, what)
    return fields


def _spaced(fields: Fields) -> bytes:
    """The object as many writers space it, Python's among them."""
    return b"{" + b", ".join([b'"%b": %b' % (name.encode(), value) for name, value in fields.items()]) + b"}"


def _refuse_duplicates(text: bytes, fields: Fields, what: str) -> None:
    longest = bytes(max(fields.values(), key=len))
    if text.count(longest) == 1:  # it is the value and nothing else: it need not be read again
        text = text.replace(longest, b"0")
    try:
        pairs: list[tuple[str, object]] = json.loads(
            text.decode(errors="replace"), object_pairs_hook=list, parse_int=str, parse_float=str
        )
    except RecursionError as error:
        raise NotAnEvent(Reason.TOO_DEEP, f"{what} is too deep") from error
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise NotAnEvent(Reason.DUPLICATE_FIELD, f"the field {_short(name)!r} stands twice in {what}")
        seen.add(name)


def take_text(fields: Fields, name: str) -> str | None:
    """Removes a field and returns its string; None where it is absent or null. Raises `NotAnEvent`."""
    raw = fields.pop(name, None)
    return None if raw is None else text_of(raw, name)


def text_of(raw: Raw, name: str) -> str | None:
    """The string that a JSON text is, None for null. Raises `NotAnEvent` for any other value."""
    try:
        text: str | None = _TEXT.decode(raw)
        return text
    except msgspec.ValidationError as error:
        raise NotAnEvent(Reason.WRONG_TYPE, f"{_short(name)} must be a string") from error
    except _FAILED as error:
        check_json(bytes(raw), _short(name))
        raise NotAnEvent(Reason.INVALID_JSON, f"{_short(name)} is not JSON: {error}") from error


def write_object(fields: Fields) -> bytes:
    """The JSON object of these fields, each value as its own bytes."""
    return msgspec.json.encode(fields)


def read_batch(body: bytes) -> list[Raw] | list[bytes] | None:
    """The elements of an array, or of an object whose only field is `events` with an array; None for
    anything else, which is one event or nothing.

    An element that is no JSON still has its bounds, as long as strings and brackets are closed: it rejects
    only itself. Raises `MalformedBatch` where the elements cannot be told apart.
    """
    array = _array(body.strip(SPACE))
    if array is None:
        return None
    try:
        return _ELEMENTS.decode(array)
    except _FAILED:
        return _split(array)


def _array(body: bytes) -> bytes | None:
    if body.startswith(b"["):
        return body
    try:
        fields = _FIELDS.decode(body)
    except _FAILED:
        wrapped = _ONLY_EVENTS.fullmatch(body)
        return None if wrapped is None else wrapped[1]
    if list(fields) != ["events"]:
        return None
    array = bytes(fields["events"])
    if not array.startswith(b"["):
        return None
    if len(body) == len(array) + len(b'{"events":}'):
        return array  # nothing else is in it
    try:
        _refuse_duplicates(body, fields, "the batch")
    except NotAnEvent as error:
        raise MalformedBatch(str(error)) from error
    return array


def split_lines(body: bytes) -> list[bytes]:
    """The lines of NDJSON that are not blank, without the white space around them."""
    return [line for line in (line.strip(SPACE) for line in body.split(b"\n")) if line]


def _split(array: bytes) -> list[bytes]:
    """The elements of an array by its brackets, strings and commas alone."""
    elements = []
    depth = start = 0
    for token in _TOKEN.finditer(array):
        sign = token[0]
        if sign == b'"':
            raise MalformedBatch(f"the string that begins at byte {token.start()} has no end")
        if sign in (b"[", b"{"):
            depth += 1
            start = start or token.end()
        elif sign in (b"]", b"}"):
            depth -= 1
        if depth == 0 or (depth == 1 and sign == b","):
            elements.append(array[start : token.start()].strip(SPACE))
            start = token.end()
        if depth == 0:
            break
    if depth or start != len(array):
        raise MalformedBatch("the array has no end" if depth else f"the array ends before byte {start}")
    if elements == [b""]:
        return []
    if b"" in elements:
        raise MalformedBatch(f"element {elements.index(b'')} of the array is empty")
    return elements


def _short(name: str) -> str:
    return name if len(name) <= 64 else f"{name[:64]}…"
