"""Values in SQL: numbers are integers at a scale that is known while the SQL is written, so that nothing is
rounded unasked and no order of additions matters (law 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from sqlglot import exp

from pik.domain.instants import InvalidInstant, parse_instant
from pik.planning.sql.grammar import Type, refuse
from pik.planning.sql.payload import DIGITS

QUOTIENT_PLACES = 12
"""Decimal places of a quotient or a mean, or as many as the dividend has beyond the divisor if those are
more; the last one is rounded half away from zero."""


class Sql(msgspec.Struct, frozen=True):
    """SQL of a type (`Words.names` has the engine's names). NUMBER: an integer, 10^scale times the number."""

    text: str
    type: Type
    scale: int = 0


def quotient(left: Sql, right: Sql) -> Sql:
    """left / right to QUOTIENT_PLACES or more, the last rounded half away from zero; NULL for x / 0."""
    scale = max(QUOTIENT_PLACES, left.scale - right.scale)
    power = 10 ** (scale - left.scale + right.scale)
    n, d = left.text, f"nullif({right.text}, 0)"
    # the whole part first, so that only the remainder has to bear the factor
    rest = f"((abs({n}) % abs({d})) * {2 * power}::HUGEINT + abs({d})) // (abs({d}) * 2)"
    size = f"((abs({n}) // abs({d})) * {power}::HUGEINT + {rest})"
    return Sql(f"(CASE WHEN ({n} < 0) = ({d} < 0) THEN {size} ELSE -{size} END)", Type.NUMBER, scale)


def rounded(number: Sql, scale: int) -> Sql:
    """Half away from zero; a number of fewer places stays as it is."""
    if number.scale <= scale:
        return number
    unit, n = 10 ** (number.scale - scale), number.text
    size = f"((abs({n}) + {unit // 2}::HUGEINT) // {unit}::HUGEINT)"
    return Sql(f"(CASE WHEN {n} < 0 THEN -{size} ELSE {size} END)", Type.NUMBER, scale)


def whole(number: Sql, *, up: bool) -> Sql:
    if number.scale == 0:
        return number
    unit, n = f"{10**number.scale}::HUGEINT", number.text
    step, beyond = ("+ 1", ">") if up else ("- 1", "<")  # // and % truncate towards zero
    return Sql(f"({n} // {unit} {step[0]} CASE WHEN {n} % {unit} {beyond} 0 THEN 1 ELSE 0 END)", Type.NUMBER)


def number_literal(node: exp.Expr, integer: Callable[[int], str]) -> Sql:
    """`integer`: writes one as a NUMBER."""
    mantissa, _, exponent = node.name.lower().partition("e")
    before, _, after = mantissa.partition(".")
    digits, places = (before + after).lstrip("0"), len(after) - int(exponent or 0)
    while digits.endswith("0"):
        digits, places = digits[:-1], places - 1
    scale = max(places, 0) if digits else 0
    if max(len(digits) - places, 0) + scale > DIGITS:
        raise refuse(node, f"a number has at most {DIGITS} digits")
    return Sql(integer(int(digits or 0) * 10 ** max(-places, 0)), Type.NUMBER, scale)


def instant_literal(node: exp.Expr) -> int:
    """Microseconds since the epoch."""
    try:
        instant = parse_instant(node.name)
    except InvalidInstant as error:
        raise refuse(node, str(error)) from error
    if instant.rest:
        raise refuse(node, "an instant has at most 6 digits of a second")
    return instant.micros


def null(node: exp.Expr, want: Type | None, names: Mapping[Type, str]) -> Sql:
    """`names`: of the types."""
    if want is None or want not in names:
        raise refuse(node, "there is nothing here that says which type it has")
    return Sql(f"CAST(NULL AS {names[want]})", want)


def condition(text: str) -> Sql:
    return Sql(f"({text})", Type.BOOLEAN)


def listed(parts: Sequence[Sql]) -> str:
    return ", ".join(part.text for part in parts)
