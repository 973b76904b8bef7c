"""Values of a JSON payload in Trino's SQL, read as exactly as `planning.sql.payload` reads them in DuckDB.

`json_extract_scalar` gives a number as the producer wrote it, digit by digit. Which kind of value it is, the
first character of its JSON tells. Where a value cannot be read, the SQL gives NULL and fails nowhere: who
asks looks for problems first.
"""

from __future__ import annotations

import re

from pik.domain.errors import NotSupported
from pik.planning.sql.payload import (
    DIGITS,
    EXPONENT,
    FRACTION,
    HOLDS_NUMBER,
    NOTHING,
    TEXT_PLACES,
    ZEROS_BEFORE,
    Kind,
    Path,
    Reading,
    Source,
    literal,
    too_long,
)

ELSEWHERE = "engine: DuckDB computes it"
"""What is said of an expression that Athena has no exact words for."""

_TEXT, _OBJECT, _ARRAY, _NULL = "'\"'", "'{'", "'['", "'n'"
_BOOLEANS = "('t', 'f')"
_NO_NUMBERS = f"({_TEXT}, {_OBJECT}, {_ARRAY}, {_NULL}, 't', 'f')"
_ELEMENT = re.compile(r"[+-]?\d+")


def json_path(path: Path) -> str:
    """A SQL literal with the JSON path of a value. Raises NotSupported for a name that Trino would take
    for the number of an element."""
    for step in path.steps:
        if isinstance(step, str) and _ELEMENT.fullmatch(step):
            raise NotSupported(
                f"{path.text}: Athena takes the name {step} for an element's number; {ELSEWHERE}"
            )
    return literal("$" + "".join(map(_step, path.steps)))


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return '["' + step.replace("\\", "\\\\").replace('"', '\\"') + '"]'


def kind_of(data: str, path: Path) -> str:
    """SQL for what kind of JSON value it is: its first character; NULL where it is missing."""
    return f"substr(json_format(json_extract({data}, {json_path(path)})), 1, 1)"


def text_of(data: str, path: Path) -> str:
    """SQL for a string's characters, a number's digits, true, false; NULL where it is none of these."""
    return f"json_extract_scalar({data}, {json_path(path)})"


def of_any_kind(kind: str, text: str) -> str:
    """SQL for the text of a value, which no value has that is missing or null, and every other has."""
    return f"CASE WHEN {kind} IN ({_OBJECT}, {_ARRAY}) THEN {kind} ELSE {text} END"


def value(reading: Reading, source: Source, scale: int) -> str:
    """SQL for the value: DECIMAL(38, 0) at `scale`, VARCHAR or BOOLEAN; NULL where there is none."""
    text, found = source.text_of(reading.path), source.type_of(reading.path)
    match reading.kind:
        case Kind.NUMBER | Kind.CAST_NUMBER:
            return _unscaled(text, reading.digits, scale)
        case Kind.TRY_NUMBER:
            readable = f"{_has_type(reading, source)} AND {_fits(reading, text, scale)}"
            return f"(CASE WHEN {readable} THEN {_unscaled(text, reading.digits, scale)} END)"
        case Kind.TEXT:
            return text
        case Kind.ANY_TEXT:
            number = f"CAST({_decimal(text, DIGITS, TEXT_PLACES)} AS VARCHAR)"
            number = f"trim(TRAILING '.' FROM trim(TRAILING '0' FROM {number}))"
            return f"(CASE WHEN {_is_number(found)} THEN {number} ELSE {text} END)"
        case Kind.BOOLEAN:
            return f"({text} = 'true')"


def places(reading: Reading, source: Source) -> str:
    """SQL for the decimal places that a number needs (BIGINT, from 0 on), NULL where it is no number."""
    needed = _places(source.text_of(reading.path))
    return f"(CASE WHEN {_has_type(reading, source)} THEN {needed} END)"


def problem(reading: Reading, source: Source, scale: int) -> str | None:
    """SQL for why a value cannot be read so (VARCHAR), NULL where it can, in the words of DuckDB's."""
    if reading.kind is Kind.TRY_NUMBER:
        return None
    path, text, found = reading.path.text, source.text_of(reading.path), source.type_of(reading.path)
    expected = literal(f"{path} is not {reading.kind.value}, but ")
    cases = [
        f"WHEN {text} IS NULL THEN NULL",
        f"WHEN NOT {_has_type(reading, source)} THEN {expected} || {_type_name(found)}",
    ]
    if reading.kind.is_number:
        cases.append(f"WHEN NOT {_fits(reading, text, scale)} THEN {literal(too_long(reading, scale))}")
    if reading.kind is Kind.ANY_TEXT:
        fits = _fits(reading, text, TEXT_PLACES)
        unread = literal(too_long(reading, TEXT_PLACES))
        cases.append(f"WHEN {_is_number(found)} AND NOT {fits} THEN {unread}")
    return f"(CASE {' '.join(cases)} END)"


def _is_number(found: str) -> str:
    return f"({found} NOT IN {_NO_NUMBERS})"


def _has_type(reading: Reading, source: Source) -> str:
    found, text = source.type_of(reading.path), source.text_of(reading.path)
    match reading.kind:
        case Kind.NUMBER:
            return _is_number(found)
        case Kind.CAST_NUMBER | Kind.TRY_NUMBER:
            holds = f"{found} = {_TEXT} AND regexp_like({text}, '\\A(?:{HOLDS_NUMBER})\\z')"
            return f"({_is_number(found)} OR {holds})"
        case Kind.TEXT:
            return f"({found} = {_TEXT})"
        case Kind.ANY_TEXT:
            return f"({found} NOT IN ({_OBJECT}, {_ARRAY}))"
        case Kind.BOOLEAN:
            return f"({found} IN {_BOOLEANS})"


def _type_name(found: str) -> str:
    return (
        f"(CASE WHEN {found} = {_TEXT} THEN 'a string' WHEN {found} = {_OBJECT} THEN 'of type object'"
        f" WHEN {found} = {_ARRAY} THEN 'of type array' WHEN {found} IN {_BOOLEANS} THEN 'of type boolean'"
        " ELSE 'a number' END)"
    )


def _fits(reading: Reading, text: str, scale: int) -> str:
    within = f"{_decimal(text, reading.digits, scale)} IS NOT NULL"
    return f"({within})" if reading.places is not None else f"({within} AND {_places(text)} <= {scale})"


_HUGE = "[eE][+-]?0*[1-9][0-9]{3}"


def _decimal(text: str, digits: int, scale: int) -> str:
    """NULL for what has no room in it. An exponent of four digits never has, but for 0, and Trino would write
    out all of its zeros before it saw that."""
    cast = f"TRY_CAST(trim(BOTH ' ' FROM {text}) AS DECIMAL({digits}, {scale}))"
    return f"CASE WHEN NOT regexp_like({text}, '{_HUGE}') THEN {cast} END"


def _unscaled(text: str, digits: int, scale: int) -> str:
    if scale == 0:
        return f"CAST({_decimal(text, digits, 0)} AS DECIMAL(38, 0))"
    # as text a DECIMAL has all of its places
    written = f"replace(CAST({_decimal(text, digits, scale)} AS VARCHAR), '.', '')"
    return f"CAST({written} AS DECIMAL(38, 0))"


def _places(text: str) -> str:
    fraction = f"length(trim(TRAILING '0' FROM {_extract(text, FRACTION)}))"
    zeros = f"length({_extract(text, ZEROS_BEFORE)})"
    exponent = f"coalesce(TRY_CAST({_extract(text, EXPONENT)} AS BIGINT), 0)"
    needed = f"({fraction} - {zeros} - {exponent})"
    digits = f"trim(TRAILING '0' FROM trim(TRAILING ' ' FROM {text}))"
    return (
        f"(CASE WHEN strpos({text}, 'e') > 0 OR strpos({text}, 'E') > 0"
        f" THEN CASE WHEN regexp_like({text}, '{NOTHING}') OR {needed} < 0 THEN 0 ELSE {needed} END"
        f" WHEN strpos({text}, '.') > 0 THEN length({digits}) - strpos({text}, '.') ELSE 0 END)"
    )


def _extract(text: str, pattern: str) -> str:
    return f"coalesce(regexp_extract({text}, '{pattern}', 1), '')"
