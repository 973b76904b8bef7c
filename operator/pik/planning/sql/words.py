"""What an engine calls the parts of an expression: DuckDB here, and others where they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from sqlglot import exp

from pik.planning.sql import payload
from pik.planning.sql.grammar import Type
from pik.planning.sql.payload import Reading, Source, literal
from pik.planning.sql.values import Sql, condition, listed, null, number_literal, quotient, rounded, whole


class Words:
    """DuckDB's. A NUMBER is a HUGEINT, an INSTANT a TIMESTAMPTZ.

    Every method gives SQL that is in brackets where it has to be, and raises InvalidExpression, naming
    `node`, where the engine has no words that mean exactly the same."""

    names: Mapping[Type, str] = MappingProxyType(
        {
            Type.NUMBER: "HUGEINT",
            Type.TEXT: "VARCHAR",
            Type.BOOLEAN: "BOOLEAN",
            Type.INSTANT: "TIMESTAMPTZ",
        }
    )
    """The types that values have."""

    def integer(self, number: int) -> str:
        """A NUMBER at scale 0."""
        return f"{number}::HUGEINT"

    def instant(self, micros: int) -> str:
        return f"make_timestamptz({micros})"

    def number_literal(self, node: exp.Expr) -> Sql:
        return number_literal(node, self.integer)

    def null(self, node: exp.Expr, want: Type | None) -> Sql:
        return null(node, want, self.names)

    # numbers

    def rescaled(self, number: Sql, scale: int) -> Sql:
        if number.type is not Type.NUMBER or number.scale == scale:
            return number
        factor = self.integer(10 ** (scale - number.scale))
        return Sql(f"({number.text} * {factor})", Type.NUMBER, scale)

    def rounded(self, number: Sql, scale: int) -> Sql:
        """Half away from zero; a number of fewer places stays as it is."""
        return rounded(number, scale)

    def whole(self, number: Sql, *, up: bool) -> Sql:
        """The next whole number."""
        return whole(number, up=up)

    def quotient(self, node: exp.Expr, left: Sql, right: Sql) -> Sql:  # noqa: ARG002 - of another engine
        return quotient(left, right)

    def seconds(self, later: str, earlier: str) -> Sql:
        """Between two instants."""
        micros = f"CAST(epoch_us({later}) - epoch_us({earlier}) AS HUGEINT)"
        return Sql(f"({micros})", Type.NUMBER, 6)

    # conditions, choices and text

    def truth(self, text: str, *, expected: bool) -> Sql:
        """IS TRUE, IS FALSE."""
        return condition(f"{text} IS {'TRUE' if expected else 'FALSE'}")

    def choice(self, name: str, parts: Sequence[Sql]) -> str:
        """coalesce, greatest, least, nullif; greatest and least take no account of NULLs."""
        return f"{name}({listed(parts)})"

    def length(self, text: str) -> str:
        return f"CAST(length({text}) AS {self.names[Type.NUMBER]})"

    def changed(self, node: exp.Expr, name: str, text: str) -> str:  # noqa: ARG002 - of another engine
        """lower, upper, and trim, which takes spaces away and nothing else."""
        return f"{name}({text})"

    def substring(self, node: exp.Expr, text: str, ends: Sequence[Sql]) -> str:  # noqa: ARG002
        """`ends`: the start, from 1 on, and the length if there is one."""
        places = [f"CAST({self.rounded(end, 0).text} AS BIGINT)" for end in ends]
        return f"substr({text}, {', '.join(places)})"

    def tested(self, name: str, first: str, second: str) -> Sql:
        """starts_with, contains."""
        return condition(f"{name}({first}, {second})")

    def like(self, node: exp.Expr, operator: str, first: str, second: str) -> Sql:  # noqa: ARG002
        return condition(f"{first} {operator} {second}")

    # values of the payload

    def value(self, reading: Reading, source: Source, scale: int) -> str:
        return payload.value(reading, source, scale)

    def problem(self, reading: Reading, source: Source, scale: int) -> str | None:
        return payload.problem(reading, source, scale)

    def places(self, reading: Reading, source: Source) -> str:
        return payload.places(reading, source)

    def literal(self, text: str) -> str:
        return literal(text)


DUCKDB = Words()

ScaleOf = Callable[[Reading], int]
"""The decimal places that a number of a payload gets, where the expression does not round it."""
