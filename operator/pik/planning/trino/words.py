"""Trino's words for the parts of an expression, as far as it has such as mean exactly what DuckDB's do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from sqlglot import exp

from pik.domain.errors import InvalidExpression, NotSupported
from pik.planning.sql.grammar import Type, refuse, whole_literal
from pik.planning.sql.payload import Reading, Source
from pik.planning.sql.values import Sql, condition, listed
from pik.planning.sql.words import Words
from pik.planning.trino import payload


class Trino(Words):
    """A NUMBER is a DECIMAL(38, 0), an INSTANT a BIGINT: microseconds since the epoch.

    Every function here is also one of DuckDB's by the same name and meaning, or one that `emulated` has words
    for, so that the very same text can be run by both."""

    names: Mapping[Type, str] = MappingProxyType(
        {
            Type.NUMBER: "DECIMAL(38, 0)",
            Type.TEXT: "VARCHAR",
            Type.BOOLEAN: "BOOLEAN",
            Type.INSTANT: "BIGINT",
        }
    )

    def integer(self, number: int) -> str:
        return f"CAST('{number}' AS DECIMAL(38, 0))"  # a bare one would have to fit into a BIGINT

    def instant(self, micros: int) -> str:
        return f"CAST({micros} AS BIGINT)"

    def rounded(self, number: Sql, scale: int) -> Sql:
        if number.scale <= scale:
            return number
        return Sql(_shifted(number.text, number.scale - scale), Type.NUMBER, scale)

    def whole(self, number: Sql, *, up: bool) -> Sql:
        if number.scale == 0:
            return number
        unit, n = self.integer(10**number.scale), number.text
        towards_zero = _shifted(f"({n} - {n} % {unit})", number.scale)
        beyond, step = (">", "+") if up else ("<", "-")
        one, nothing = self.integer(1), self.integer(0)
        adjusted = f"{towards_zero} {step} CASE WHEN {n} % {unit} {beyond} 0 THEN {one} ELSE {nothing} END"
        return Sql(f"({adjusted})", Type.NUMBER)

    def quotient(self, node: exp.Expr, left: Sql, right: Sql) -> Sql:  # noqa: ARG002 - it cannot
        raise unsupported(node, "no two engines divide the values of an event with the same last digit")

    def seconds(self, later: str, earlier: str) -> Sql:
        return Sql(f"CAST({later} - {earlier} AS DECIMAL(38, 0))", Type.NUMBER, 6)

    def truth(self, text: str, *, expected: bool) -> Sql:
        return condition(f"coalesce({text if expected else f'NOT {text}'}, false)")

    def choice(self, name: str, parts: Sequence[Sql]) -> str:
        if len(parts) == 1:
            return parts[0].text
        if name not in ("greatest", "least"):
            return f"{name}({listed(parts)})"
        texts = [part.text for part in parts]
        if len(texts) * sum(map(len, texts)) > _LONGEST_CHOICE:
            raise NotSupported(f"{name}(): its parts are too long for Athena together; {payload.ELSEWHERE}")
        # one that is NULL counts for nothing, as in DuckDB: the others stand in for it
        each = (_first([one, *texts[:n], *texts[n + 1 :]]) for n, one in enumerate(texts))
        return f"{name}({', '.join(each)})"

    def changed(self, node: exp.Expr, name: str, text: str) -> str:
        if name != "trim":
            raise unsupported(node, f"{name}() does not treat every letter alike in Athena and DuckDB")
        return f"trim(BOTH ' ' FROM {text})"

    def substring(self, node: exp.Expr, text: str, ends: Sequence[Sql]) -> str:  # noqa: ARG002
        written = [end for name in ("start", "length") if (end := node.args.get(name)) is not None]
        numbers = [whole_literal(end.unnest()) for end in written]
        for number, least in zip(numbers, (1, 0), strict=False):
            if number is None or number < least:
                raise unsupported(node, "substr() takes whole numbers that are written out, from 1 on")
        return f"substr({text}, {', '.join(map(str, numbers))})"

    def tested(self, name: str, first: str, second: str) -> Sql:
        if name == "contains":
            return condition(f"strpos({first}, {second}) > 0")
        return super().tested(name, first, second)

    def like(self, node: exp.Expr, operator: str, first: str, second: str) -> Sql:
        if "ILIKE" in operator:
            raise unsupported(node, "ILIKE does not treat every letter alike in Athena and DuckDB")
        return super().like(node, operator, first, second)

    def value(self, reading: Reading, source: Source, scale: int) -> str:
        return payload.value(reading, source, scale)

    def problem(self, reading: Reading, source: Source, scale: int) -> str | None:
        return payload.problem(reading, source, scale)

    def places(self, reading: Reading, source: Source) -> str:
        return payload.places(reading, source)


_LONGEST_CHOICE = 100_000
"""Characters of a greatest() or least(), in which each part stands as often as there are parts."""

TRINO = Trino()


def unsupported(node: exp.Expr, why: str) -> InvalidExpression:
    return NotSupported(str(refuse(node, f"{why}; {payload.ELSEWHERE}")))


def _shifted(number: str, places: int) -> str:
    """An integer without its last digits, rounded half away from zero. Both engines do it in a text's cast
    to DECIMAL, and differ in every division."""
    return f"CAST(CAST({number} AS VARCHAR) || 'e-{places}' AS DECIMAL(38, 0))"


def _first(texts: Sequence[str]) -> str:
    return f"coalesce({', '.join(texts)})"
