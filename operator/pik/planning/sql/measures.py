"""Expressions over the aggregates of many events."""

from __future__ import annotations

from decimal import Decimal

from sqlglot import exp

from pik.planning.sql.grammar import AGGREGATES, Type, refuse, type_of
from pik.planning.sql.payload import Path, Source
from pik.planning.sql.rows import RowSql
from pik.planning.sql.values import Sql
from pik.planning.sql.words import DUCKDB, ScaleOf, Words


class MeasureSql(RowSql):
    """SQL of expressions over aggregates; within an aggregate stand expressions over one event."""

    def __init__(self, source: Source, scale_of: ScaleOf, words: Words = DUCKDB) -> None:
        super().__init__(source, scale_of, words)
        self._rows = rows = self._over_events()
        self.readings, self.paths, self.columns = rows.readings, rows.paths, rows.columns

    def _over_events(self) -> RowSql:
        """What makes the SQL within the aggregates."""
        return RowSql(self._source, self._scale_of, self.words)

    def _computed(self, text: str, type_: Type, scale: int = 0) -> Sql:
        """One aggregate, whole."""
        return Sql(text, type_, scale)

    def _reference(self, node: exp.Expr) -> str | Path:
        raise refuse(
            node, "stands outside of an aggregate, and has many values; write avg(…), max(…) or the like"
        )

    def _aggregate(self, node: exp.Expr) -> Sql:
        if not isinstance(node, exp.Filter):
            return self._over(node, "")
        if isinstance(node.this, exp.Filter) or not isinstance(node.this, AGGREGATES):
            raise refuse(node, "FILTER stands once, after an aggregate")
        kept = self._rows.of(node.expression.this, Type.BOOLEAN).text
        return self._over(node.this, f" FILTER (WHERE {kept})")

    def _over(self, node: exp.Expr, kept: str) -> Sql:
        """An aggregate over the events that `kept`, a FILTER, lets through."""
        inner = node.this
        match node:
            case exp.Count():
                return self._count(node, kept)
            case exp.CountIf():
                counted = self._rows.of(inner, Type.BOOLEAN).text
                return self._counted(f"CASE WHEN {counted} THEN 1 END", kept)
            case exp.LogicalAnd() | exp.LogicalOr():
                name = "bool_and" if isinstance(node, exp.LogicalAnd) else "bool_or"
                return self._computed(
                    f"{name}({self._rows.of(inner, Type.BOOLEAN).text}){kept}", Type.BOOLEAN
                )
            case exp.Min() | exp.Max():
                x = self._rows.of(inner, type_of(node))
                name = "min" if isinstance(node, exp.Min) else "max"
                return self._computed(f"{name}({x.text}){kept}", x.type, x.scale)
        if isinstance(inner, exp.Distinct | exp.Order):
            raise refuse(node, "DISTINCT stands in count(DISTINCT …) only, and ORDER BY nowhere")
        x = self._rows.of(inner, Type.NUMBER)
        match node:
            case exp.Sum():
                return self._computed(f"sum({x.text}){kept}", Type.NUMBER, x.scale)
            case exp.Avg():
                total = self._computed(f"sum({x.text}){kept}", Type.NUMBER, x.scale)
                return self.words.quotient(node, total, self._counted(x.text, kept))
        return self._quantile(node, x, kept)

    def _quantile(self, node: exp.Expr, x: Sql, kept: str) -> Sql:
        """median(x), quantile_disc(x, q)."""
        if isinstance(node, exp.Median):
            # the lower and the upper of the two in the middle; where the count is odd both are the one
            lower = f"quantile_disc({x.text}, 0.5){kept}"
            upper = f"(-(quantile_disc(-{x.text}, 0.5){kept}))"
            return Sql(f"(({lower} + {upper}) * 5)", Type.NUMBER, x.scale + 1)
        share = node.expression
        if not isinstance(share, exp.Literal) or share.is_string or not 0 <= Decimal(share.name) <= 1:
            raise refuse(node, "quantile_disc(x, q) takes a number q from 0 to 1")
        return Sql(f"quantile_disc({x.text}, {Decimal(share.name):f}){kept}", Type.NUMBER, x.scale)

    def _count(self, node: exp.Expr, kept: str) -> Sql:
        inner = node.this
        if node.expressions:
            raise refuse(node, "count() takes one value")
        if inner is None or isinstance(inner, exp.Star):
            return self._counted("*", kept)
        if isinstance(inner, exp.Distinct):
            if len(inner.expressions) != 1 or isinstance(inner.expressions[0], exp.Star):
                raise refuse(node, "count(DISTINCT …) takes one value")
            return self._counted(f"DISTINCT {self._rows.of(inner.expressions[0], None).text}", kept)
        absent = self._rows.of(exp.Is(this=inner.copy(), expression=exp.Null()), Type.BOOLEAN).text
        return self._counted(f"CASE WHEN NOT {absent} THEN 1 END", kept)

    def _counted(self, what: str, kept: str) -> Sql:
        number = self._rows.words.names[Type.NUMBER]
        return self._computed(f"CAST(count({what}){kept} AS {number})", Type.NUMBER)
