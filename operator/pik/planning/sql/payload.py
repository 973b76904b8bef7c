"""Values of a JSON payload in DuckDB SQL, read exactly: every digit that the producer wrote counts.

Numbers become integers at a scale (14.9 is 149 at scale 1), so that no arithmetic rounds unasked and no order
of additions matters (law 7: the same version has the same rows, byte for byte).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

DIGITS = 38
"""Decimal digits that a number may have, before and after the point together."""

TEXT_PLACES = 18
"""Decimal places that a number may have where it is read as text."""

_NUMBER_TYPES = "('BIGINT', 'UBIGINT', 'DOUBLE')"  # as json_type names them
_WHOLE_TYPES = "('BIGINT', 'UBIGINT')"
_WHOLE_DIGITS = 20  # that numbers of these have at most


class Path(msgspec.Struct, frozen=True, order=True):
    """Where a value stands in a payload: names of members, and numbers of elements from 0 on."""

    steps: tuple[str | int, ...]

    @property
    def pointer(self) -> str:
        """As a JSON pointer (RFC 6901)."""
        return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.steps)

    @property
    def text(self) -> str:
        """As an expression may write it."""
        return "payload" + "".join(map(_step_text, self.steps))


class Kind(StrEnum):
    """What a value is read as, in the words of a message."""

    NUMBER = "a number"
    CAST_NUMBER = "a number or a string that holds one"
    TRY_NUMBER = "a number where it holds one"
    TEXT = "a string"
    ANY_TEXT = "a string, a number, true or false"
    BOOLEAN = "true or false"

    @property
    def is_number(self) -> bool:
        return self in (Kind.NUMBER, Kind.CAST_NUMBER, Kind.TRY_NUMBER)


class Reading(msgspec.Struct, frozen=True):
    """One way in which an expression reads one value. `places`: the expression asks that a number be rounded
    to so many decimal places (half away from zero); None: it is never rounded. `digits`: how many digits a
    number may have, these places among them."""

    path: Path
    kind: Kind
    places: int | None = None
    digits: int = DIGITS


class Source(Protocol):
    """Where a relation has its payloads' values: SQL for a value's JSON type and for its text."""

    def type_of(self, path: Path) -> str:
        """VARCHAR, as DuckDB's json_type names it; NULL where the value is missing."""
        ...

    def text_of(self, path: Path) -> str:
        """VARCHAR: a string's characters, a number's digits, true, false; NULL where missing or null."""
        ...


class FromData:
    """A relation with the payload's JSON text in its column `data`."""

    def type_of(self, path: Path) -> str:
        return f"json_type(data, {literal(path.pointer)})"

    def text_of(self, path: Path) -> str:
        return texts_of("data", literal(path.pointer), f"{self.type_of(path)} = 'DOUBLE'")


# DuckDB's JSON parser reads a number with a fraction or an exponent as a double and prints it again: that is
# exact up to 15 digits. Payloads with longer numbers have all of theirs made strings first. What stands
# between two numbers is skipped whole, strings included; a number at the end lets the last match end.
_LONG_NUMBER = "|".join(
    [rf"[0-9]{{{16 - n}}}[.][0-9]{{{n}}}" for n in range(1, 16)] + ["[0-9]{16}[eE]", "[eE][+-]?[0-9]{3}"]
)
_UP_TO_A_NUMBER = r"""((?:"(?:[^"\\]|\\.)*"|[^"0-9-])*)(-?[0-9][0-9.eE+-]*)"""
_END = " 0"
_END_AS_STRING = ' "0"'

# a JSON number, and what CSV files write for one
HOLDS_NUMBER = " *[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)? *"

# Of a number with an exponent: the digits after its point, the zeros before it where none but zeros follow,
# the exponent, and whether it is nothing but zeros.
FRACTION = "[.]([0-9]+)"
ZEROS_BEFORE = "^[^.eE]*?(0*)(?:[.]0*)?[eE]"
EXPONENT = "[eE][+]?(-?[0-9]+)"
NOTHING = "^[^1-9]*[eE]"


def texts_of(data: str, pointers: str, has_double: str) -> str:
    """SQL for the texts of a payload's values, as `Source.text_of` has them. `pointers`: SQL for a JSON
    pointer, or a list of them; `has_double`: whether a value there is a number with a fraction or an
    exponent, as only these lose digits."""
    exact = f"json_extract_string({exact_payload(data)}, {pointers})"
    return f"(CASE WHEN {has_double} THEN {exact} ELSE json_extract_string({data}, {pointers}) END)"


def exact_payload(data: str) -> str:
    """SQL for a payload's JSON text from which DuckDB's JSON functions take numbers digit by digit."""
    strings = f"""regexp_replace({data} || '{_END}', '{_UP_TO_A_NUMBER}', '\\1"\\2"', 'g')"""
    strings = f"left({strings}, -{len(_END_AS_STRING)})"
    return f"(CASE WHEN regexp_matches({data}, '{_LONG_NUMBER}') THEN {strings} ELSE {data} END)"


def value(reading: Reading, source: Source, scale: int) -> str:
    """SQL for the value: HUGEINT at `scale`, VARCHAR or BOOLEAN; NULL where it is missing or null."""
    text = source.text_of(reading.path)
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
            number = f"rtrim(rtrim({number}, '0'), '.')"  # equal numbers have equal texts
            return (
                f"(CASE WHEN {source.type_of(reading.path)} IN {_NUMBER_TYPES} THEN {number} ELSE {text} END)"
            )
        case Kind.BOOLEAN:
            return f"({text} = 'true')"


def is_present(path: Path, source: Source) -> str:
    """SQL: whether the value is there and not null."""
    return f"({source.text_of(path)} IS NOT NULL)"


def places(reading: Reading, source: Source) -> str:
    """SQL for the decimal places that a number needs (INTEGER, from 0 on), NULL where it is no number."""
    needed = _places(source.text_of(reading.path))
    return (
        f"(CASE WHEN {_is_whole(reading, source)} THEN 0 WHEN {_has_type(reading, source)} THEN {needed} END)"
    )


def problem(reading: Reading, source: Source, scale: int) -> str | None:
    """SQL for why a value cannot be read so (VARCHAR), NULL where it can. None: every value can."""
    if reading.kind is Kind.TRY_NUMBER:
        return None
    path, text, found = reading.path.text, source.text_of(reading.path), source.type_of(reading.path)
    expected = literal(f"{path} is not {reading.kind.value}, but ")
    cases = [
        f"WHEN {text} IS NULL THEN NULL",
        f"WHEN NOT {_has_type(reading, source)} THEN {expected} || {_type_name(found)}",
    ]
    if reading.kind.is_number:
        if reading.digits - scale >= _WHOLE_DIGITS:
            cases.append(f"WHEN {_is_whole(reading, source)} THEN NULL")
        cases.append(f"WHEN NOT {_fits(reading, text, scale)} THEN {literal(too_long(reading, scale))}")
    if reading.kind is Kind.ANY_TEXT:
        number = f"{found} IN {_NUMBER_TYPES}"
        fits = _fits(reading, text, TEXT_PLACES)
        cases.append(f"WHEN {number} AND NOT {fits} THEN {literal(too_long(reading, TEXT_PLACES))}")
    return f"(CASE {' '.join(cases)} END)"


def literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _is_whole(reading: Reading, source: Source) -> str:
    """Most numbers are whole, and are known to be by their type, without a look at their text."""
    return f"({source.type_of(reading.path)} IN {_WHOLE_TYPES})"


def _has_type(reading: Reading, source: Source) -> str:
    found, text = source.type_of(reading.path), source.text_of(reading.path)
    match reading.kind:
        case Kind.NUMBER:
            return f"({found} IN {_NUMBER_TYPES})"
        case Kind.CAST_NUMBER | Kind.TRY_NUMBER:
            holds = f"{found} = 'VARCHAR' AND regexp_full_match({text}, '{HOLDS_NUMBER}')"
            return f"({found} IN {_NUMBER_TYPES} OR {holds})"
        case Kind.TEXT:
            return f"({found} = 'VARCHAR')"
        case Kind.ANY_TEXT:
            return f"({found} NOT IN ('OBJECT', 'ARRAY'))"
        case Kind.BOOLEAN:
            return f"({found} = 'BOOLEAN')"


def _type_name(found: str) -> str:
    number = f"WHEN {found} IN {_NUMBER_TYPES} THEN 'a number'"
    return f"(CASE WHEN {found} = 'VARCHAR' THEN 'a string' {number} ELSE 'of type ' || lower({found}) END)"


def _fits(reading: Reading, text: str, scale: int) -> str:
    within = f"TRY_{_decimal(text, reading.digits, scale)} IS NOT NULL"
    return f"({within})" if reading.places is not None else f"({within} AND {_places(text)} <= {scale})"


def too_long(reading: Reading, scale: int) -> str:
    shorter = f"; round({reading.path.text}, 6) takes fewer" if reading.places is None else ""
    return (
        f"{reading.path.text} has more digits than can be computed with exactly: "
        f"{reading.digits - scale} before the point and {scale} after it{shorter}"
    )


def _decimal(text: str, digits: int, scale: int) -> str:
    return f"CAST(trim({text}) AS DECIMAL({digits}, {scale}))"


def _unscaled(text: str, digits: int, scale: int) -> str:
    if scale == 0:
        return f"CAST({_decimal(text, digits, 0)} AS HUGEINT)"
    # as text a DECIMAL has all of its places
    return f"CAST(replace(CAST({_decimal(text, digits, scale)} AS VARCHAR), '.', '') AS HUGEINT)"


def _places(text: str) -> str:
    fraction = f"length(rtrim(regexp_extract({text}, '{FRACTION}', 1), '0'))"
    zeros = f"length(regexp_extract({text}, '{ZEROS_BEFORE}', 1))"
    exponent = f"coalesce(TRY_CAST(regexp_extract({text}, '{EXPONENT}', 1) AS BIGINT), 0)"
    after_point = f"length(rtrim({text}, ' 0')) - strpos({text}, '.')"
    return (
        f"(CASE WHEN contains({text}, 'e') OR contains({text}, 'E')"
        f" THEN CASE WHEN regexp_matches({text}, '{NOTHING}') THEN 0"
        f" ELSE greatest({fraction} - {zeros} - {exponent}, 0) END"
        f" WHEN contains({text}, '.') THEN {after_point} ELSE 0 END)"
    )


def _step_text(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    plain = step.isascii() and step.isidentifier()
    return f".{step}" if plain else '."' + step.replace('"', '""') + '"'
