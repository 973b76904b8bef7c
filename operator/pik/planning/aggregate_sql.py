# ruff: noqa: S608 - expressions are checked and built from their parts, and the rest is pik's own
"""The SQL that answers a definition, over the view `events`.

It makes one from the other: the table `candidates` (the events of the window that were known), the table
`inputs` (those that meet `where`), and the view `placed` (with their bucket and groups). From the last come
the rows of the result, and the list of inputs that names the version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

from msgspec import structs
from sqlglot import exp

from pik.api.aggregate_version import TimeBucket
from pik.domain.errors import InvalidDefinition, InvalidExpression
from pik.domain.instants import Instant
from pik.domain.windows import Window
from pik.planning.buckets import slot_length
from pik.planning.definitions import Definition
from pik.planning.expressions import Expression, parse_condition, parse_group, parse_measure
from pik.planning.sql.grammar import Type
from pik.planning.sql.payload import DIGITS, Path, Reading, literal, places, texts_of
from pik.planning.sql.values import Sql

BUCKET = "bucket"
"""A result's first column: when the bucket starts."""

LISTED = (
    "event_id", "fingerprint", "event_time", "event_time_rest", "received_time", "received_time_rest",
    "ingest_time", "arrival",
)  # fmt: skip
"""What is listed of each input, besides its bucket and groups."""

_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# What an arrival says that its event id and fingerprint leave open, as text. Where a result depends on it,
# so does the inputs hash: a winner may be another arrival of the same event (OnRead, a segment that landed
# long after its stamp).
_OPEN = {
    "received_time": "coalesce(epoch_us(received_time) || '.' || received_time_rest, '')",
    "ingest_time": "epoch_us(ingest_time)",
    "event_time_text": "event_time_text",
    "payload_sha256": "payload_sha256",
}

Scales = Mapping[Reading, int]
"""The decimal places that each reading of a number gets: as many as the inputs need."""


class _Staged:
    """`Source`: payload values in columns of their own, whose names tell any two paths apart."""

    def type_of(self, path: Path) -> str:
        return f"type_{_name(path)}"

    def text_of(self, path: Path) -> str:
        return f"text_{_name(path)}"


def _name(path: Path) -> str:
    return sha256(path.pointer.encode()).hexdigest()[:16]


STAGED = _Staged()
"""Where the table `candidates` has its payloads' values."""


@dataclass(frozen=True)
class Column:
    """A column of the result."""

    name: str
    expression: Expression

    @property
    def is_count(self) -> bool:
        tree = self.expression.tree.unnest()
        return isinstance(tree.this if isinstance(tree, exp.Filter) else tree, exp.Count | exp.CountIf)


@dataclass(frozen=True)
class AggregateQuery:
    """A definition whose expressions are checked."""

    definition: Definition
    where: Expression | None
    groups: tuple[Column, ...]
    measures: tuple[Column, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of the result, after the bucket."""
        return self.groups + self.measures

    def by(self, *groups: Column) -> AggregateQuery:
        """The same measures of the same events by other groups."""
        return replace(self, groups=groups)

    def over_the_window(self, *further: Column) -> AggregateQuery:
        """The same measures, and further ones, over the whole window as one."""
        definition = structs.replace(self.definition, bucket=TimeBucket.WINDOW)
        return replace(self, definition=definition, groups=(), measures=self.measures + further)

    def open_columns(self, fingerprint_exclude: Sequence[str]) -> tuple[str, ...]:
        """The columns whose values a result depends on although the fingerprint does not cover them."""
        read = {name for column in self.columns for name in column.expression.columns}
        excluded = [tuple(path.split(".")) for path in fingerprint_exclude]
        for column in self.columns:
            for path in column.expression.paths:
                if any(path.steps[: len(e)] == e or e[: len(path.steps)] == path.steps for e in excluded):
                    read.add("payload_sha256")
        return tuple(name for name in _OPEN if name in read)

    def stage(self, table: str, relation: str, condition: str, keep: Sequence[str]) -> str:
        """Makes `table` of the rows of `relation` that meet `condition`, with what the expressions read, and
        the columns `keep`."""
        named = {name for expression in self.expressions for name in expression.columns}
        columns = list(dict.fromkeys(["event_id", "event_time", *sorted(named), *keep]))
        values, source = "", f"SELECT * FROM {relation} WHERE {condition}"
        if self.paths:
            pointers = f"[{', '.join(literal(path.pointer) for path in self.paths)}]"
            texts = texts_of("data", pointers, "list_contains(types, 'DOUBLE')")
            source = (
                f"SELECT *, {texts} AS texts"
                f" FROM (SELECT *, json_type(data, {pointers}) AS types FROM {relation} WHERE {condition})"
            )
            values = "".join(
                f", types[{n}] AS {STAGED.type_of(path)}, texts[{n}] AS {STAGED.text_of(path)}"
                for n, path in enumerate(self.paths, start=1)
            )
        return f"CREATE TABLE {table} AS SELECT {', '.join(columns)}{values} FROM ({source})"

    def choose(self) -> str:
        """Makes `inputs` of `candidates`, which is gone then."""
        if self.where is None:
            return "ALTER TABLE candidates RENAME TO inputs"
        condition = self.where.sql(STAGED).text
        return f"CREATE TABLE inputs AS SELECT * FROM candidates WHERE {condition}; DROP TABLE candidates"

    def problems_of_choice(self) -> str | None:
        """Which of `candidates` `where` cannot be asked of; None: it can of all."""
        return None if self.where is None else _problems("candidates", self.where.problem(STAGED))

    @cached_property
    def numbers(self) -> tuple[Reading, ...]:
        """Readings of numbers in groups and measures whose decimal places the inputs decide."""
        readings = dict.fromkeys(r for column in self.columns for r in column.expression.readings)
        return tuple(r for r in readings if r.kind.is_number and r.places is None)

    def slots(self) -> str:
        """The slots of time in which there are `inputs`, by their starts."""
        return f"SELECT DISTINCT {_slot(self.definition.bucket)} FROM inputs"

    def places_needed(self) -> str:
        """The decimal places that each of `numbers` needs among `inputs`, as one row."""
        needed = [f"coalesce(max({places(reading, STAGED)}), 0)" for reading in self.numbers]
        return f"SELECT {', '.join(needed)} FROM inputs"

    def problems_of_results(self, scales: Scales) -> str | None:
        """Which of `inputs` groups and measures cannot be computed of; None: they can of all."""
        found = [column.expression.problem(STAGED, scales.__getitem__) for column in self.columns]
        several = [sql for sql in found if sql is not None]
        return _problems("inputs", f"coalesce({', '.join(several)})" if several else None)

    def place(self, scales: Scales) -> str:
        """Makes `placed` of `inputs` and `pieces`, a table of `buckets.Piece`; anew where it is there."""
        groups = "".join(
            f", {column.expression.sql(STAGED, scales.__getitem__).text} AS group_{n}"
            for n, column in enumerate(self.groups)
        )
        return (
            "CREATE OR REPLACE VIEW placed AS"
            f" SELECT inputs.*, make_timestamptz(pieces.start) AS {BUCKET}{groups}"
            f" FROM inputs JOIN pieces ON {_slot(self.definition.bucket)} = pieces.slot"
            " AND epoch_us(event_time) >= pieces.first AND epoch_us(event_time) < pieces.last"
        )

    def outputs(self, scales: Scales) -> list[Sql]:
        """The result's columns after the bucket over `placed`, as they are computed."""
        groups = [
            Sql(
                f"group_{n}",
                column.expression.type,
                column.expression.sql(STAGED, scales.__getitem__).scale,
            )
            for n, column in enumerate(self.groups)
        ]
        return groups + [column.expression.sql(STAGED, scales.__getitem__) for column in self.measures]

    def rows(self, scales: Scales) -> str:
        """The result: `bucket`, `column_<n>`; numbers as HUGEINT, counts as BIGINT."""
        keys = [BUCKET, *(f"group_{n}" for n in range(len(self.groups)))]
        outputs = self.outputs(scales)
        computed = [f"{sql.text} AS computed_{n}" for n, sql in enumerate(outputs)]
        columns = ", ".join([BUCKET, *computed])
        return self.result(f"SELECT {columns} FROM placed GROUP BY {', '.join(keys)}", outputs)

    def result(self, relation: str, outputs: Sequence[Sql]) -> str:
        """The same of a relation that has them as `bucket`, `computed_<n>`: SQL for it, in no order."""
        selected = [
            f"{_bounded(f'computed_{n}', sql, is_count=column.is_count)} AS column_{n}"
            for n, (column, sql) in enumerate(zip(self.columns, outputs, strict=True))
        ]
        order = [BUCKET, *(f"column_{n} NULLS FIRST" for n in range(len(self.groups)))]
        return f"SELECT {', '.join([BUCKET, *selected])} FROM ({relation}) ORDER BY {', '.join(order)}"

    def inputs(self, open_columns: Sequence[str]) -> str:
        """The events of `placed` in order of their ids: LISTED, the bucket, `group_<n>`, and the values of
        `open_columns` as text in `open_<n>`."""
        groups = "".join(f", group_{n}" for n in range(len(self.groups)))
        values = "".join(f", {_OPEN[name]}::VARCHAR AS open_{n}" for n, name in enumerate(open_columns))
        return f"SELECT {', '.join(LISTED)}, {BUCKET}{groups}{values} FROM placed ORDER BY event_id"

    @cached_property
    def expressions(self) -> list[Expression]:
        """All there are."""
        computed = [column.expression for column in self.columns]
        return computed if self.where is None else [self.where, *computed]

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """All that they read, each once."""
        paths = {path.pointer: path for expression in self.expressions for path in expression.paths}
        return tuple(paths.values())


def query_of(definition: Definition) -> AggregateQuery:
    """Checks a definition's expressions. Raises InvalidExpression and InvalidDefinition, naming the field."""
    with field("where"):
        where = None if definition.where is None else parse_condition(definition.where)
    measures, groups = [], []
    for measure in definition.measures:
        with field(f"measures[{measure.name}].expression"):
            measures.append(Column(measure.name, parse_measure(measure.expression)))
    taken = {BUCKET, *(measure.name for measure in measures)}
    if len(taken) <= len(measures):
        raise InvalidDefinition(f"measures: each has a name of its own, and none is {BUCKET!r}")
    for number, text in enumerate(definition.group_by, start=1):
        with field(f"groupBy[{number - 1}]"):
            group = parse_group(text)
        groups.append(Column(_group_name(group, number, taken), group))
        taken.add(groups[-1].name)
    return AggregateQuery(definition, where, tuple(groups), tuple(measures))


def within(window: Window) -> str:
    """A condition: the event happened in the window."""
    return (
        f"event_time >= make_timestamptz({window.start.micros})"
        f" AND event_time < make_timestamptz({window.end.micros})"
    )


KNOWN_TIME = "coalesce(received_time, ingest_time)"
"""When an event was known by its source's word; where the source says nothing, when pik stored it, which is
when it was known at the latest."""


def received_by(as_of: Instant) -> str:
    """A condition: by its source's word the event was known at `as_of`."""
    at = f"make_timestamptz({as_of.micros})"
    return f"({KNOWN_TIME} < {at} OR {KNOWN_TIME} = {at} AND coalesce(received_time_rest, '') = '')"


def _slot(bucket: TimeBucket) -> str:
    length, micros = slot_length(bucket), "epoch_us(event_time)"
    return f"({micros} - (({micros} % {length}) + {length}) % {length})"


def _bounded(name: str, sql: Sql, *, is_count: bool) -> str:
    if sql.type is not Type.NUMBER:
        return name
    if is_count:
        return f"CAST({name} AS BIGINT)"
    too_large = literal(f"a number of more than {DIGITS} digits")
    return f"CASE WHEN abs({name}) >= {10**DIGITS}::HUGEINT THEN error({too_large}) ELSE {name} END"


def _problems(table: str, problem: str | None) -> str | None:
    """The first problem that rows of a table have, in how many, and one of them."""
    if problem is None:
        return None
    return (
        f"SELECT problem, count(*), min(event_id) FROM (SELECT event_id, {problem} AS problem FROM {table})"
        " WHERE problem IS NOT NULL GROUP BY problem ORDER BY problem LIMIT 1"
    )


def _group_name(group: Expression, number: int, taken: set[str]) -> str:
    """The last name of a path or column, where it is plain and free, else `group_<number>`."""
    named = [*(path.steps[-1] for path in group.paths), *group.columns]
    last = str(named[0]) if len(named) == 1 else ""
    name = last if _PLAIN_NAME.fullmatch(last) and last not in taken else f"group_{number}"
    if name in taken:
        raise InvalidDefinition(f"groupBy[{number - 1}]: its column is called {name}, and so is a measure")
    return name


@contextmanager
def field(name: str) -> Iterator[None]:
    """Says which field of the spec has an expression that is not allowed."""
    try:
        yield
    except InvalidExpression as error:
        raise type(error)(f"{name}: {error}") from error
