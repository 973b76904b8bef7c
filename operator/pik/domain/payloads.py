"""What an event may be made of: payloads, ids and times, and the reasons why something is not one.

A payload is any JSON value, kept as the bytes that came: valid UTF-8, no number that a double cannot hold,
no half of a surrogate pair, at most `MAX_DEPTH` deep. White space around the value is not part of it.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson

from pik.domain.arrivals import Rejection
from pik.domain.documented import Documented
from pik.domain.errors import PikError

MAX_DEPTH = 128
"""Arrays and objects within each other. Readers stop much earlier than memory does (System.Text.Json at 64,
PostgreSQL and Python at some thousand), and what nobody can read is no evidence."""

MAX_NAME_BYTES = 512
"""Of source, event type and entity id, in UTF-8: they can be listed in a ReplayJob (512 characters) and used
as a DynamoDB partition key (2,048 bytes) whatever is put before them."""

MAX_KEY_BYTES = 1024
"""Of an idempotency key, in UTF-8."""

MAX_ATTRIBUTES_BYTES = 16_384
"""Of the JSON text of all attributes that have no column of their own."""


class Reason(Documented):
    """Why something is not an event."""

    INVALID_JSON = "InvalidJSON", "It is not JSON (RFC 8259)."
    INVALID_UTF8 = "InvalidUTF8", "Its bytes are not UTF-8."
    LONE_SURROGATE = "LoneSurrogate", "A string has one half of a surrogate pair, which no UTF-8 can carry."
    NOT_FINITE = "NotFinite", "A number is NaN, infinite, or beyond the range of a double."
    TOO_DEEP = "TooDeep", f"Arrays and objects lie more than {MAX_DEPTH} deep within each other."
    PAYLOAD_TOO_LARGE = "PayloadTooLarge", "The payload is larger than the stream's ingest.maxEventBytes."
    ATTRIBUTES_TOO_LARGE = (
        "AttributesTooLarge",
        f"What was sent beside the payload and has no column is larger than {MAX_ATTRIBUTES_BYTES} bytes.",
    )
    WRONG_TYPE = "WrongType", "A value has another JSON type than it must have; nothing is converted."
    MISSING_FIELD = "MissingField", "A required field is absent or null, and no mapping gives it."
    EMPTY_FIELD = "EmptyField", "A field is the empty string."
    FIELD_TOO_LONG = (
        "FieldTooLong",
        f"An id has more than {MAX_NAME_BYTES} bytes of UTF-8, an idempotency key more than {MAX_KEY_BYTES}.",
    )
    NULL_CHARACTER = "NullCharacter", "An id contains U+0000, at which many programs end a text."
    DUPLICATE_FIELD = "DuplicateField", "A field stands twice: readers differ on which one they take."
    INVALID_TIME = "InvalidTime", "A time is not an RFC 3339 instant with an offset that exists."
    INVALID_ATTRIBUTE = (
        "InvalidAttribute",
        "A CloudEvents attribute has a name or a type that is not allowed.",
    )
    UNSUPPORTED_VERSION = "UnsupportedVersion", "The specversion of a CloudEvent is not 1.0."
    UNSUPPORTED_CONTENT = (
        "UnsupportedContent",
        "The data of a CloudEvent is not JSON in UTF-8; send it in a JSON value.",
    )
    INVALID_ROW = "InvalidRow", "A row of a file does not have the cells that its header names."


class NotAnEvent(PikError):
    """An input is not an event; caught where events are told apart, so that it rejects only itself."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def rejection(self) -> Rejection:
        return Rejection(self.reason, str(self))


def check_payload(data: bytes, max_bytes: int) -> None:
    """Raises `NotAnEvent` unless the bytes are a payload of at most so many."""
    check_size(data, max_bytes)
    check_json(data, "the payload")


def check_size(data: bytes, max_bytes: int) -> None:
    """Raises `NotAnEvent` for a payload of more bytes than so many."""
    if len(data) > max_bytes:
        raise NotAnEvent(
            Reason.PAYLOAD_TOO_LARGE, f"the payload has {len(data)} bytes; the stream takes {max_bytes}"
        )


def check_json(data: bytes, what: str) -> None:
    """Raises `NotAnEvent` unless the bytes are one JSON value, as the module's docstring has it.

    `what`: how the message calls it.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        _explain(data, what, error)
    # no value is deeper than it has brackets
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _is_too_deep(value):
        raise NotAnEvent(Reason.TOO_DEEP, f"{what} is more than {MAX_DEPTH} levels deep")


def check_name(text: str, field: str, max_bytes: int = MAX_NAME_BYTES) -> None:
    """Raises `NotAnEvent` unless the text can be an id: not empty, within its bound, no U+0000."""
    if not text:
        raise NotAnEvent(Reason.EMPTY_FIELD, f"{field} is empty")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise NotAnEvent(Reason.LONE_SURROGATE, f"{field} has half of a surrogate pair") from error
    if size > max_bytes:
        raise NotAnEvent(Reason.FIELD_TOO_LONG, f"{field} has {size} bytes of UTF-8; {max_bytes} are taken")
    if "\0" in text:
        raise NotAnEvent(Reason.NULL_CHARACTER, f"{field} contains U+0000")


def _is_too_deep(value: Any) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _explain(data: bytes, what: str, error: orjson.JSONDecodeError) -> NoReturn:
    """Which reason it is that orjson refused: by reading it again with a reader that takes more."""
    try:
        text = data.decode()
    except UnicodeDecodeError as undecodable:
        raise NotAnEvent(Reason.INVALID_UTF8, f"{what} is not UTF-8: {undecodable.reason}") from error
    try:
        json.loads(text, parse_constant=_not_finite, parse_float=_finite, parse_int=_finite)
    except OverflowError as found:
        raise NotAnEvent(Reason.NOT_FINITE, f"{what} has a number that is not finite: {found}") from error
    except RecursionError as found:
        raise NotAnEvent(Reason.TOO_DEEP, f"{what} is more than {MAX_DEPTH} levels deep") from found
    except ValueError as found:
        raise NotAnEvent(Reason.INVALID_JSON, f"{what} is not JSON: {found}") from error
    if "\\ud" in text.lower():
        raise NotAnEvent(Reason.LONE_SURROGATE, f"{what} has half of a surrogate pair") from error
    raise NotAnEvent(Reason.INVALID_JSON, f"{what} is not JSON: {error.msg}") from error


def _not_finite(word: str) -> NoReturn:
    raise OverflowError(word)


def _finite(lexeme: str) -> None:
    if math.isinf(float(lexeme)):
        raise OverflowError(lexeme if len(lexeme) <= 40 else f"{lexeme[:40]}…")
