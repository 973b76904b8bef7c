"""Expressions over one event.

The SQL is built from its parts alone: nothing of a user's text gets into it but quoted literals and JSON
pointers.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from pik.planning.sql.grammar import (
    AGGREGATES,
    CHOICES,
    COLUMNS,
    COMPARISONS,
    LIKES,
    NUMERIC,
    REFERENCES,
    TEXT_FUNCTIONS,
    TEXT_TESTS,
    Type,
    common_type,
    operands,
    reference,
    refuse,
    results,
    type_of,
    whole_literal,
)
from pik.planning.sql.payload import DIGITS, Kind, Path, Reading, Source, is_present
from pik.planning.sql.values import Sql, condition, instant_literal, listed
from pik.planning.sql.words import DUCKDB, ScaleOf, Words

_INTEGERS = (exp.DType.INT, exp.DType.BIGINT)
_LONGEST = 200_000  # characters of SQL that one expression may become
_ROUND_PLACES = 18


class RowSql:
    """SQL of expressions over one event. `scale_of`: the decimal places that a payload's numbers get;
    `words`: of the engine. `readings`, `paths` and `columns` fill with what the expressions read of an
    event, in order."""

    def __init__(self, source: Source, scale_of: ScaleOf, words: Words = DUCKDB) -> None:
        self.words = words
        self._source = source
        self._scale_of = scale_of
        self.readings: dict[Reading, None] = {}
        self.paths: dict[Path, None] = {}
        self.columns: dict[str, None] = {}

    def of(self, node: exp.Expr, want: Type | None) -> Sql:
        """The node as `want`. None: as what it is, and what is still a value of the payload as text,
        whichever scalar it is. Raises InvalidExpression."""
        node = node.unnest()
        found = type_of(node)
        if found is Type.TEXT and want is Type.INSTANT and isinstance(node, exp.Literal):
            return Sql(self.words.instant(instant_literal(node)), Type.INSTANT)
        if want is not None and found not in (want, Type.PAYLOAD, Type.NULL):
            raise refuse(node, f"is {found}, and {want} is needed here")
        made = self._made(node, want)
        if len(made.text) > _LONGEST:
            raise refuse(node, "is too long; write it with fewer nested divisions and roundings")
        return made

    def _made(self, node: exp.Expr, want: Type | None) -> Sql:
        kind = type(node)
        if isinstance(node, AGGREGATES):
            return self._aggregate(node)
        if isinstance(node, REFERENCES):
            return self._named(node, want)
        if kind is exp.Literal:
            return self._literal(node)
        if kind is exp.Null:
            return self.words.null(node, want)
        if kind is exp.Boolean:
            return Sql("true" if node.this else "false", Type.BOOLEAN)
        if kind in COMPARISONS:
            return self._comparison(node, COMPARISONS[kind])
        if isinstance(node, exp.And | exp.Or):
            operands_ = [self.of(part, Type.BOOLEAN).text for part in node.flatten()]
            return condition(f" {'AND' if kind is exp.And else 'OR'} ".join(operands_))
        if kind is exp.Not:
            return condition(f"NOT {self.of(node.this, Type.BOOLEAN).text}")
        if kind is exp.Is:
            return self._is(node)
        if kind in (exp.In, exp.Between):
            return self._range(node)
        if kind in CHOICES:
            parts, type_ = self._alike(operands(node), node, want)
            return Sql(self.words.choice(CHOICES[kind], parts), type_, parts[0].scale)
        if kind in (exp.Case, exp.If):
            return self._case(node, want)
        if isinstance(node, exp.Cast):  # and TryCast
            return self._cast(node)
        if isinstance(node, NUMERIC):
            return self._arithmetic(node)
        return self._text(node)

    def _aggregate(self, node: exp.Expr) -> Sql:
        raise refuse(node, "an aggregate is not allowed here, where each event is looked at by itself")

    def _literal(self, node: exp.Expr) -> Sql:
        if node.is_string:
            return Sql(self.words.literal(node.name), Type.TEXT)
        return self.words.number_literal(node)

    def _reference(self, node: exp.Expr) -> str | Path:
        named = reference(node)
        if isinstance(named, Path):
            self.paths[named] = None
        else:
            self.columns[named] = None
        return named

    def _named(self, node: exp.Expr, want: Type | None) -> Sql:
        named = self._reference(node)
        if not isinstance(named, Path):
            return Sql(named, COLUMNS[named])
        match want:
            case Type.NUMBER:
                return self._read(Reading(named, Kind.NUMBER), Type.NUMBER)
            case Type.TEXT:
                return self._read(Reading(named, Kind.TEXT), Type.TEXT)
            case Type.BOOLEAN:
                return self._read(Reading(named, Kind.BOOLEAN), Type.BOOLEAN)
            case None:
                return self._read(Reading(named, Kind.ANY_TEXT), Type.TEXT)
        raise refuse(
            node, "a value of the payload is not an instant; the event's are event_time, received_time"
        )

    def _read(self, reading: Reading, type_: Type) -> Sql:
        self.readings[reading] = None
        scale = self._scale_of(reading) if reading.kind.is_number else 0
        return Sql(self.words.value(reading, self._source, scale), type_, scale)

    def _alike(self, nodes: Sequence[exp.Expr], whole: exp.Expr, want: Type | None) -> tuple[list[Sql], Type]:
        """Several expressions as one type and scale."""
        type_ = common_type(nodes, whole)
        if type_ in (Type.PAYLOAD, Type.NULL):
            parts = [self.of(node, want) for node in nodes]
        else:
            parts = [self.of(node, type_) for node in nodes]
        scale = max(part.scale for part in parts)
        return [self.words.rescaled(part, scale) for part in parts], parts[0].type

    def _comparison(self, node: exp.Expr, operator: str) -> Sql:
        sides = [node.this, node.expression]
        type_ = common_type(sides, node)
        if type_ is Type.PAYLOAD and not any(type_of(side) is Type.NULL for side in sides):
            hint = "say what one of them is: CAST(… AS VARCHAR) or CAST(… AS DECIMAL(38, 6))"
            raise refuse(node, f"both are values of the payload, which have no type; {hint}")
        if operator[0] != "I" and any(type_of(side) is Type.NULL for side in sides):
            raise refuse(node, "is never true; write IS NULL or IS NOT NULL")
        parts, _ = self._alike(sides, node, None)
        return condition(f"{parts[0].text} {operator} {parts[1].text}")

    def _is(self, node: exp.Expr) -> Sql:
        inner, against = node.this.unnest(), node.expression
        if isinstance(against, exp.Boolean):
            return self.words.truth(self.of(inner, Type.BOOLEAN).text, expected=bool(against.this))
        if not isinstance(against, exp.Null):
            raise refuse(node, "write IS [NOT] NULL, IS [NOT] TRUE or IS [NOT] FALSE")
        if type_of(inner) is Type.NULL:
            raise refuse(node, "is always so")
        if isinstance(inner, REFERENCES) and isinstance(path := self._reference(inner), Path):
            return condition(f"NOT {is_present(path, self._source)}")
        return condition(f"{self.of(inner, None).text} IS NULL")

    def _range(self, node: exp.Expr) -> Sql:
        if isinstance(node, exp.Between):
            nodes = [node.this, node.args["low"], node.args["high"]]
        else:
            nodes = [node.this, *node.expressions]
        if len(nodes) == 1 or any(isinstance(part.unnest(), exp.Tuple) for part in nodes):
            raise refuse(node, "IN takes a list of values, such as IN (1, 2)")
        if common_type(nodes, node) in (Type.PAYLOAD, Type.NULL):
            raise refuse(node, "compare with a number or a text, so that it is clear what it is read as")
        (head, *rest), _ = self._alike(nodes, node, None)
        if isinstance(node, exp.Between):
            return condition(f"{head.text} BETWEEN {rest[0].text} AND {rest[1].text}")
        return condition(f"{head.text} IN ({listed(rest)})")

    def _case(self, node: exp.Expr, want: Type | None) -> Sql:
        branches = node.args["ifs"] if isinstance(node, exp.Case) else [node]
        if isinstance(node, exp.Case) and node.this is not None:
            tests = [exp.EQ(this=node.this, expression=branch.this) for branch in branches]
        else:
            tests = [branch.this for branch in branches]
        conditions = [self.of(test, Type.BOOLEAN).text for test in tests]
        parts, type_ = self._alike(results(node), node, want)
        whens = [f"WHEN {c} THEN {part.text}" for c, part in zip(conditions, parts, strict=False)]
        otherwise = f" ELSE {parts[-1].text}" if len(parts) > len(whens) else ""
        return Sql(f"(CASE {' '.join(whens)}{otherwise} END)", type_, parts[0].scale)

    def _cast(self, node: exp.Expr) -> Sql:
        inner, target = node.this.unnest(), node.args["to"]
        if target.this is exp.DType.TEXT and not target.expressions:
            return self.of(inner, None if type_of(inner) is Type.PAYLOAD else Type.TEXT)
        if not isinstance(inner, REFERENCES) or not isinstance(path := self._reference(inner), Path):
            raise refuse(node, "cast a value of the payload itself; round() is for what is computed")
        if target.this is exp.DType.DECIMAL:
            digits, scale = _precision(node, target)
        elif target.this in _INTEGERS and not target.expressions:
            digits, scale = DIGITS, 0
        else:
            raise refuse(node, "cast to DECIMAL(p, s), INTEGER, BIGINT or VARCHAR only")
        kind = Kind.TRY_NUMBER if isinstance(node, exp.TryCast) else Kind.CAST_NUMBER
        return self._read(Reading(path, kind, scale, digits), Type.NUMBER)

    def _arithmetic(self, node: exp.Expr) -> Sql:
        kind = type(node)
        if kind is exp.Length:
            return Sql(self.words.length(self.of(node.this, Type.TEXT).text), Type.NUMBER)
        if kind is exp.Sub and Type.INSTANT in (type_of(node.this), type_of(node.expression)):
            later, earlier = (self.of(side, Type.INSTANT).text for side in (node.this, node.expression))
            return self.words.seconds(later, earlier)
        if kind is exp.Round:
            return self._round(node)
        left = self.of(node.this, Type.NUMBER)
        if kind is exp.Neg:
            return Sql(f"(-{left.text})", Type.NUMBER, left.scale)
        if kind is exp.Abs:
            return Sql(f"abs({left.text})", Type.NUMBER, left.scale)
        if kind in (exp.Floor, exp.Ceil):
            return self.words.whole(left, up=kind is exp.Ceil)
        right = self.of(node.expression, Type.NUMBER)
        if kind is exp.Mul:
            return Sql(f"({left.text} * {right.text})", Type.NUMBER, left.scale + right.scale)
        if kind is exp.Div:
            return self.words.quotient(node, left, right)
        scale = max(left.scale, right.scale)
        left, right = self.words.rescaled(left, scale), self.words.rescaled(right, scale)
        if kind is exp.Mod:
            return Sql(f"({left.text} % nullif({right.text}, 0))", Type.NUMBER, scale)
        return Sql(f"({left.text} {'+' if kind is exp.Add else '-'} {right.text})", Type.NUMBER, scale)

    def _round(self, node: exp.Expr) -> Sql:
        inner, decimals = node.this.unnest(), node.args.get("decimals")
        scale = 0 if decimals is None else whole_literal(decimals)
        if scale is None or scale > _ROUND_PLACES:
            raise refuse(node, f"round(x, n) takes a number n from 0 to {_ROUND_PLACES}")
        if isinstance(inner, REFERENCES) and isinstance(path := self._reference(inner), Path):
            return self._read(Reading(path, Kind.NUMBER, scale), Type.NUMBER)
        return self.words.rounded(self.of(inner, Type.NUMBER), scale)

    def _text(self, node: exp.Expr) -> Sql:
        kind = type(node)
        first = self.of(node.this, Type.TEXT).text
        if kind is exp.Trim and node.expression is not None:
            raise refuse(node, "trim() takes one text")
        if kind in TEXT_FUNCTIONS:
            return Sql(self.words.changed(node, TEXT_FUNCTIONS[kind], first), Type.TEXT)
        if kind is exp.Substring:
            ends = [end for name in ("start", "length") if (end := node.args.get(name)) is not None]
            places = [self.of(end, Type.NUMBER) for end in ends]
            return Sql(self.words.substring(node, first, places), Type.TEXT)
        second = self.of(node.expression, Type.TEXT).text
        if kind is exp.DPipe:
            return Sql(f"({first} || {second})", Type.TEXT)
        if kind in TEXT_TESTS:
            return self.words.tested(TEXT_TESTS[kind], first, second)
        operator = f"{'NOT ' if node.args.get('negate') else ''}{LIKES[kind]}"
        return self.words.like(node, operator, first, second)


def _precision(node: exp.Expr, target: exp.Expr) -> tuple[int, int]:
    digits, scale, *_ = [*(whole_literal(part.this) for part in target.expressions), 0, 0]
    if (
        digits is None
        or scale is None
        or not 0 < digits <= DIGITS
        or not 0 <= scale <= min(digits, _ROUND_PLACES)
    ):
        raise refuse(node, f"DECIMAL(p, s) takes p up to {DIGITS} and s up to p and {_ROUND_PLACES}")
    return digits, scale
