# ruff: noqa: S608 - expressions are checked and built from their parts, and the rest is pik's own
"""The SQL by which Athena answers a definition, over the table of a stream's segments.

Four questions: how many rows of which segment there are (`census`); what the events of the window need, and
whether they can be read (`survey`); which they are (`inputs`); and their aggregates (`rows`). Every value is
given as text of plain signs, so that no reader of a result has to guess: numbers in digits, instants in
microseconds, conditions as 1 and 0, text as `x` and its UTF-8 in hexadecimal digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pik.api.aggregate_version import TimeBucket
from pik.domain.errors import NotSupported
from pik.planning.aggregate_sql import BUCKET, STAGED, AggregateQuery, Scales, field
from pik.planning.buckets import slot_length
from pik.planning.expressions import Expression
from pik.planning.sql.grammar import Type
from pik.planning.sql.payload import literal
from pik.planning.sql.values import Sql
from pik.planning.trino.buckets import Stretch, start_of
from pik.planning.trino.measures import Leaf, Leaves, SplitMeasure
from pik.planning.trino.payload import ELSEWHERE, kind_of, of_any_kind, text_of
from pik.planning.trino.scope import Scope
from pik.planning.trino.words import TRINO

LONGEST = 262_144
"""Bytes that a query may have (Athena's quota)."""

_KEPT = (
    "event_id", "source", "event_type", "entity_id", "event_time", "event_time_rest", "event_time_text",
    "received_time", "received_time_rest", "ingest_time", "idempotency_key", "payload_sha256", "fingerprint",
    "segment", "place",
)  # fmt: skip

_INPUT = {
    "event_id": Type.TEXT,
    "fingerprint": Type.TEXT,
    "event_time": Type.INSTANT,
    "event_time_rest": Type.TEXT,
    "event_time_text": Type.TEXT,
    "received_time": Type.INSTANT,
    "received_time_rest": Type.TEXT,
    "ingest_time": Type.INSTANT,
    "payload_sha256": Type.TEXT,
    "segment": Type.TEXT,
    "place": Type.NUMBER,
}
"""What is said of each input, besides its bucket and groups."""

PROBLEM = "problem"


@dataclass(frozen=True)
class Result:
    """A query, and what the columns of its rows are."""

    sql: str
    columns: Mapping[str, Type]

    def decoded(self, relation: str) -> str:
        """DuckDB's SQL for the rows in their types, of a relation that has them as text."""
        return (
            f"SELECT {', '.join(f'{_decoded(n, t)} AS {n}' for n, t in self.columns.items())} FROM {relation}"
        )


@dataclass(frozen=True)
class TrinoQuery:
    """A definition's questions. Raises NotSupported, naming an expression, where Athena has no exact words
    for it, and where a question becomes too long for it."""

    query: AggregateQuery
    scope: Scope

    def census(self) -> Result:
        counted = Sql("count(*)", Type.NUMBER)
        text = f"SELECT {_cells({'segment': Sql('segment', Type.TEXT), 'found': counted})}"
        sql = f"WITH {self.scope.arrivals(everything=True)} {text} FROM arrivals GROUP BY segment"
        return _result(sql, {"segment": Type.TEXT, "found": Type.NUMBER})

    def survey(self) -> Result:
        """For each slot of time: how many events, and the decimal places that each of `query.numbers` needs
        among them; and for each problem: how many have it, and one of them."""
        length = slot_length(self.query.definition.bucket)
        slot = f"event_time - (event_time % {length} + {length}) % {length}"
        needed = [TRINO.places(reading, STAGED) for reading in self.query.numbers]
        places = "".join(f", {text} AS needed_{n}" for n, text in enumerate(needed))
        columns = {
            "slot": Sql("slot", Type.INSTANT),
            PROBLEM: Sql(PROBLEM, Type.TEXT),
            "events": Sql("count(*)", Type.NUMBER),
            "example": Sql("min(event_id)", Type.TEXT),
            **{f"needed_{n}": Sql(f"max(needed_{n})", Type.NUMBER) for n in range(len(needed))},
        }
        relation = f"SELECT {slot} AS slot, {PROBLEM}, event_id{places} FROM judged WHERE NOT dropped"
        sql = f"{self._judged()} SELECT {_cells(columns)} FROM ({relation}) GROUP BY slot, {PROBLEM}"
        return _result(sql, {name: column.type for name, column in columns.items()})

    def inputs(self, scales: Scales, buckets: Sequence[Stretch]) -> Result:
        """The events, with why groups and measures cannot be computed of them, NULL where they can."""
        found = [c.expression.problem(STAGED, scales.__getitem__, TRINO) for c in self.query.columns]
        several = [text for text in found if text is not None]
        columns = {
            **{name: Sql(name, type_) for name, type_ in _INPUT.items()},
            PROBLEM: Sql(_first(several), Type.TEXT),
            BUCKET: Sql(self._bucket(buckets), Type.INSTANT),
            **dict(self._groups(scales)),
        }
        sql = f"{self._judged()} SELECT {_cells(columns)} FROM judged WHERE NOT dropped"
        return _result(sql, {name: column.type for name, column in columns.items()})

    def rows(self, scales: Scales, buckets: Sequence[Stretch]) -> tuple[Result, list[Sql]]:
        """Of each bucket and group its aggregates; and the measures over them, in DuckDB's SQL."""
        leaves, measures = self._measures(scales)
        groups = dict(self._groups(scales))
        keys = [BUCKET, *groups]
        placed = {BUCKET: Sql(self._bucket(buckets), Type.INSTANT), **groups}
        columns = {
            **{name: Sql(name, sql.type) for name, sql in placed.items()},
            **{leaf.name: leaf.sql for leaf in leaves},
        }
        added = ", ".join(f"{sql.text} AS {name}" for name, sql in placed.items())
        relation = f"SELECT judged.*, {added} FROM judged WHERE NOT dropped"
        sql = f"{self._judged()} SELECT {_cells(columns)} FROM ({relation}) GROUP BY {', '.join(keys)}"
        outputs = [Sql(name, sql.type, sql.scale) for name, sql in groups.items()] + measures
        return _result(sql, {name: column.type for name, column in columns.items()}), outputs

    def _judged(self) -> str:
        """WITH … `judged`: the events of the window that were known, with the values that expressions read,
        their `problem` with `where`, and whether it `dropped` them (not where there is a problem)."""
        names = ", ".join(_KEPT)
        kinds = "".join(f", {kind_of('data', p)} AS {STAGED.type_of(p)}" for p in self.query.paths)
        texts = "".join(f", {text_of('data', p)} AS {STAGED.text_of(p)}" for p in self.query.paths)
        read = f"read AS (SELECT {names}{kinds}{texts} FROM events)"
        values = ""
        for path in self.query.paths:
            kind, text = STAGED.type_of(path), STAGED.text_of(path)
            values += f", {kind}, {of_any_kind(kind, text)} AS {text}"
        candidates = f"candidates AS (SELECT {names}{values} FROM read)"
        where, problem, dropped = self.query.where, "CAST(NULL AS VARCHAR)", "false"
        if where is not None:
            found = where.problem(STAGED, words=TRINO)
            problem = problem if found is None else found
            kept = where.sql(STAGED, words=TRINO).text
            dropped = f"CASE WHEN {problem} IS NOT NULL THEN false ELSE NOT coalesce({kept}, false) END"
        judged = f"judged AS (SELECT *, {problem} AS {PROBLEM}, {dropped} AS dropped FROM candidates)"
        parts = [self.scope.arrivals(), *self.scope.events(), read, candidates, judged]
        return f"WITH {', '.join(parts)}"

    def _groups(self, scales: Scales) -> Iterator[tuple[str, Sql]]:
        for n, column in enumerate(self.query.groups):
            yield f"group_{n}", column.expression.sql(STAGED, scales.__getitem__, TRINO)

    def _measures(self, scales: Scales) -> tuple[list[Leaf], list[Sql]]:
        leaves = Leaves()
        measures = [_split(column.expression, scales, leaves) for column in self.query.measures]
        return leaves.all, measures

    def _bucket(self, buckets: Sequence[Stretch]) -> str:
        if self.query.definition.bucket is TimeBucket.WINDOW:
            return TRINO.instant(self.query.definition.span.start.micros)
        return start_of(buckets, "event_time")


def check(query: AggregateQuery) -> None:
    """Raises NotSupported where Athena could not answer it exactly, whatever the events are."""
    asked = TrinoQuery(query, Scope.nothing())
    scales = dict.fromkeys(query.numbers, 0)
    if query.where is not None:
        with field("where"):
            query.where.sql(STAGED, words=TRINO)
    for number, group in enumerate(query.groups):
        with field(f"groupBy[{number}]"):
            group.expression.sql(STAGED, scales.__getitem__, TRINO)
    for measure in query.measures:
        with field(f"measures[{measure.name}].expression"):
            _split(measure.expression, scales, Leaves())
    asked.survey()
    asked.inputs(scales, ())
    asked.rows(scales, ())


def _split(measure: Expression, scales: Scales, leaves: Leaves) -> Sql:
    split = SplitMeasure(STAGED, measure.places(scales.__getitem__), leaves)
    return split.of(measure.tree, measure.role.want)


def _result(sql: str, columns: Mapping[str, Type]) -> Result:
    if (size := len(sql.encode())) > LONGEST:
        raise NotSupported(
            f"the question to Athena becomes {size} bytes long, and it takes {LONGEST}: ask for a shorter"
            f" window, fewer measures or larger buckets; {ELSEWHERE}"
        )
    return Result(sql, columns)


def _cells(columns: Mapping[str, Sql]) -> str:
    return ", ".join(f"{_encoded(sql)} AS {name}" for name, sql in columns.items())


def _encoded(sql: Sql) -> str:
    match sql.type:
        case Type.TEXT:
            return f"'x' || to_hex(to_utf8({sql.text}))"
        case Type.BOOLEAN:
            return f"CASE WHEN {sql.text} THEN '1' WHEN NOT {sql.text} THEN '0' END"
    return f"CAST({sql.text} AS VARCHAR)"


def _decoded(name: str, type_: Type) -> str:
    match type_:
        case Type.TEXT:
            return f"decode(unhex(substr({name}, 2)))"
        case Type.BOOLEAN:
            return f"{name} = {literal('1')}"
        case Type.INSTANT:
            return f"make_timestamptz(CAST({name} AS BIGINT))"
    return f"CAST({name} AS HUGEINT)"


def _first(several: Sequence[str]) -> str:
    """SQL for the first that is not NULL."""
    if not several:
        return "CAST(NULL AS VARCHAR)"
    return several[0] if len(several) == 1 else f"coalesce({', '.join(several)})"
