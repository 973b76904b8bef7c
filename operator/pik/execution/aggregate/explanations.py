"""Why a number moved: the events that explain it, computed again from raw data, and what they leave over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import pyarrow as pa

from pik.domain.errors import Incomplete
from pik.execution.aggregate.differences import Change, Difference, inputs_of, python_rows, rows_of
from pik.execution.aggregate.repeats import Repeats, count_repeats
from pik.execution.aggregate.selection import exactly, place
from pik.execution.aggregate.tables import result_rows
from pik.execution.reading.query import query as ask
from pik.execution.reading.snapshot import pinned_snapshot
from pik.execution.stream import Stream
from pik.planning.aggregate_sql import AggregateQuery, Column, query_of
from pik.planning.expressions import parse_group, parse_measure

Values = tuple[Any, ...]
"""Of the measures, in their order: int, Decimal, str, bool, Instant, or None."""

_COUNT = "number of events"  # no measure can be called so


@dataclass(frozen=True, slots=True)
class Step:
    """The measures over the whole window once the events of this change are taken into account too."""

    change: Change
    events: int
    values: Values


@dataclass(frozen=True, slots=True)
class GroupChange:
    """One group's events in both answers, and what its late events alone give. Values are None where it has
    no such events."""

    group: tuple[Any, ...]
    inputs_before: int
    inputs_after: int
    counts: dict[Change, int]
    before: Values | None
    after: Values | None
    late: Values | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """`before` and `after`: the measures over the whole window, None over no events. `steps`: from the one
    to the other, a change at a time. `rows_left_over`: rows of the later result that the earlier inputs with
    all changes made do not give; 0 means that the events explain everything. `repeats` of the inputs came
    between the two and changed nothing."""

    measures: tuple[str, ...]
    before: Values | None
    after: Values | None
    steps: tuple[Step, ...]
    rows_left_over: int
    inputs_before: int
    inputs_after: int
    inputs_in_both: int
    groups: tuple[GroupChange, ...]  # the most late events first
    repeats: Repeats

    @property
    def completeness(self) -> Fraction | None:
        """How much of what went into the later answer the earlier one had. None: nothing did."""
        return Fraction(self.inputs_in_both, self.inputs_after) if self.inputs_after else None

    def unexplained(self, measure: int) -> Fraction | None:
        """The share of a number's change that no step brings about. None: it did not change, or is no
        number."""
        if self.before is None or self.after is None or not self.steps:
            return None
        last = self.steps[-1].values
        first, reached, final = self.before[measure], last[measure], self.after[measure]
        if not all(isinstance(v, int | Decimal) for v in (first, reached, final)) or first == final:
            return None
        return abs(Fraction(final) - Fraction(reached)) / abs(Fraction(final) - Fraction(first))


async def explain(
    stream: Stream, difference: Difference, by: Sequence[str] | None = None, memory: str | None = None
) -> Explanation:
    """`by`: expressions of groups to tell the events apart by; None: the definition's own.

    Raises InvalidExpression; Incomplete where raw data that went into one of the two is gone or expired;
    UnreadableValue; and what `pinned_snapshot` does.
    """
    before, after = difference.before, difference.after
    query = query_of(before.record.definition)
    groups = query.groups if by is None else tuple(Column(text, parse_group(text)) for text in by)
    snapshot = await pinned_snapshot(stream, max(before.as_of.cut_instant, after.as_of.cut_instant))
    one, other = await inputs_of(stream, before), await inputs_of(stream, after)
    kept = await rows_of(stream, after)

    def work(con: duckdb.DuckDBPyConnection) -> Explanation:
        con.register("one", one)
        con.register("other", other)
        con.register("differing", difference.events.select(["event_id", "change"]))
        with exactly("groupBy and measures"):
            return _explained(con, stream, query, groups, kept, difference)

    return await ask(stream, snapshot, work, memory)


def _explained(
    con: duckdb.DuckDBPyConnection,
    stream: Stream,
    query: AggregateQuery,
    groups: tuple[Column, ...],
    kept: pa.Table,
    difference: Difference,
) -> Explanation:
    _stage(con, query.by(*query.groups, *groups))
    total = query.over_the_window()
    steps = []
    for number, change in enumerate(Change):
        reached = _total(con, total, _with_changes(list(Change)[: number + 1]))
        steps.append(Step(change, difference.counts[change], reached or ()))
    again = _rows(con, query, _with_changes(list(Change)))
    repeats = count_repeats(con, stream, difference.before.as_of, difference.after.as_of)
    (common,) = con.execute("SELECT count(*) FROM one SEMI JOIN other USING (event_id)").fetchall()[0]
    return Explanation(
        measures=tuple(column.name for column in query.measures),
        before=_total(con, total, "in_before"),
        after=_total(con, total, "in_after"),
        steps=tuple(steps),
        rows_left_over=_left_over(again, kept),
        inputs_before=difference.before.record.input_count,
        inputs_after=difference.after.record.input_count,
        inputs_in_both=common - difference.counts[Change.CHANGED],
        groups=_groups(con, query, groups),
        repeats=repeats,
    )


def _stage(con: duckdb.DuckDBPyConnection, query: AggregateQuery) -> None:
    """Makes `staged`: the arrivals that went into either answer, `in_before`, `in_after`, and `change`."""
    con.execute(
        """
        CREATE TABLE chosen AS
        SELECT segment, row, bool_or(before) AS in_before, bool_or(NOT before) AS in_after,
            any_value(change) AS change
        FROM (SELECT event_id, segment, row, true AS before FROM one
              UNION ALL SELECT event_id, segment, row, false FROM other)
        LEFT JOIN differing USING (event_id)
        GROUP BY segment, row
        """
    )
    extra = ["in_before", "in_after", "change"]
    con.execute(query.stage("staged", "arrivals JOIN chosen USING (segment, row)", "true", extra))
    ((wanted, found),) = con.execute(
        "SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM staged)"
    ).fetchall()
    if wanted != found:
        raise Incomplete(f"{wanted - found} events that went into the two answers are not there any more")


def _with_changes(made: Sequence[Change]) -> str:
    """The earlier inputs with these changes made."""
    named = ", ".join(f"'{change}'" for change in made)
    return f"CASE WHEN change IN ({named}) THEN in_after ELSE in_before END"


def _rows(con: duckdb.DuckDBPyConnection, query: AggregateQuery, condition: str) -> pa.Table:
    con.execute(f"CREATE OR REPLACE TABLE inputs AS SELECT * FROM staged WHERE {condition}")  # noqa: S608
    return result_rows(con, query, place(con, query))


def _total(con: duckdb.DuckDBPyConnection, total: AggregateQuery, condition: str) -> Values | None:
    found = _by_group(con, total, condition)
    return found.get(())


def _by_group(con: duckdb.DuckDBPyConnection, query: AggregateQuery, condition: str) -> dict[Values, Values]:
    rows = _rows(con, query, condition)
    first = 1 + len(query.groups)
    return {row[1:first]: row[first:] for row in python_rows(rows)}


def _groups(
    con: duckdb.DuckDBPyConnection, query: AggregateQuery, groups: tuple[Column, ...]
) -> tuple[GroupChange, ...]:
    if not groups:
        return ()
    counted = query.over_the_window(Column(_COUNT, parse_measure("count(*)"))).by(*groups)
    before, after = _by_group(con, counted, "in_before"), _by_group(con, counted, "in_after")
    changed = {change: _by_group(con, counted, f"change = '{change}'") for change in Change}

    def values(found: dict[Values, Values], key: Values) -> Values | None:
        return found[key][:-1] if key in found else None

    def count(found: dict[Values, Values], key: Values) -> int:
        return int(found[key][-1]) if key in found else 0

    made = [
        GroupChange(
            group=key,
            inputs_before=count(before, key),
            inputs_after=count(after, key),
            counts={change: count(found, key) for change, found in changed.items()},
            before=values(before, key),
            after=values(after, key),
            late=values(changed[Change.LATE], key),
        )
        for key in before.keys() | after.keys()
    ]
    return tuple(sorted(made, key=lambda group: (-group.counts[Change.LATE], *map(str, group.group))))


def _left_over(again: pa.Table, kept: pa.Table) -> int:
    """How many rows of `kept` are not in `again`."""
    if again.equals(kept):
        return 0
    found = set(python_rows(again))
    return sum(row not in found for row in python_rows(kept))
