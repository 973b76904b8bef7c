"""Measures in two halves: the aggregates, which Trino computes, and what is made of them, which DuckDB does.

So what both can compute exactly (sums, counts, the least and the most) is computed where the events are, and
what only one has exactly (a division, above all) in one place, by the same SQL whatever the engine.
"""

from __future__ import annotations

import msgspec
from sqlglot import exp

from pik.planning.sql.grammar import Type
from pik.planning.sql.measures import MeasureSql
from pik.planning.sql.payload import Source
from pik.planning.sql.rows import RowSql
from pik.planning.sql.values import Sql
from pik.planning.sql.words import ScaleOf
from pik.planning.trino.words import TRINO, unsupported


class Leaf(msgspec.Struct, frozen=True):
    """An aggregate in Trino's SQL, and the column that has its values."""

    name: str
    sql: Sql


class Leaves:
    """The aggregates of some measures, each once, in order."""

    def __init__(self) -> None:
        self._found: dict[str, Leaf] = {}

    def add(self, sql: Sql) -> Leaf:
        return self._found.setdefault(sql.text, Leaf(f"leaf_{len(self._found)}", sql))

    @property
    def all(self) -> list[Leaf]:
        return list(self._found.values())


class SplitMeasure(MeasureSql):
    """DuckDB's SQL over the values of `leaves`, to which it adds."""

    def __init__(self, source: Source, scale_of: ScaleOf, leaves: Leaves) -> None:
        super().__init__(source, scale_of)
        self._leaves = leaves

    def _over_events(self) -> RowSql:
        return RowSql(self._source, self._scale_of, TRINO)

    def _computed(self, text: str, type_: Type, scale: int = 0) -> Sql:
        leaf = self._leaves.add(Sql(text, type_, scale))
        return Sql(leaf.name, type_, scale)

    def _quantile(self, node: exp.Expr, x: Sql, kept: str) -> Sql:  # noqa: ARG002 - it cannot
        raise unsupported(node, "Athena has quantiles by approximation only")
