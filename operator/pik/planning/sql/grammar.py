"""What an expression of a user may be made of, and what type each part has.

What is not in the tables below is refused. A value of the payload has no type of its own; what it is read as
follows from what it is used with.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from sqlglot import exp

from pik.domain.errors import InvalidExpression
from pik.planning.sql.payload import Path

_SHOWN = 60  # characters of an expression that a message quotes


class Type(StrEnum):
    """A value's type, in the words of a message."""

    NUMBER = "a number"
    TEXT = "text"
    BOOLEAN = "a condition"
    INSTANT = "an instant"
    PAYLOAD = "a value of the payload"  # which becomes one of the others by its use
    NULL = "NULL"


COLUMNS = {
    "event_id": Type.TEXT,
    "source": Type.TEXT,
    "event_type": Type.TEXT,
    "entity_id": Type.TEXT,
    "event_time": Type.INSTANT,
    "event_time_text": Type.TEXT,
    "received_time": Type.INSTANT,
    "ingest_time": Type.INSTANT,
    "idempotency_key": Type.TEXT,
    "payload_sha256": Type.TEXT,
}
"""The event's columns that an expression may name."""

ALLOWED = (
    "Allowed are the columns " + ", ".join(COLUMNS) + " and payload.<path>; 1, 'text', TRUE, FALSE, NULL; "
    "AND OR NOT = <> < <= > >= + - * / % || LIKE ILIKE IN BETWEEN CASE, IS [NOT] NULL, TRUE, FALSE, "
    "DISTINCT FROM; CAST and TRY_CAST to DECIMAL(p, s), INTEGER, BIGINT and VARCHAR; "
    "abs, ceil, coalesce, contains, floor, greatest, if, least, length, lower, nullif, round, starts_with, "
    "substr, trim, upper; in measures avg, bool_and, bool_or, count, count_if, max, median, min, "
    "quantile_disc and sum, with FILTER (WHERE …) after them"
)

COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM", exp.NullSafeNEQ: "IS DISTINCT FROM",
}  # fmt: skip
TEXT_FUNCTIONS: dict[type[exp.Expr], str] = {exp.Lower: "lower", exp.Upper: "upper", exp.Trim: "trim"}
TEXT_TESTS: dict[type[exp.Expr], str] = {exp.StartsWith: "starts_with", exp.Contains: "contains"}
LIKES: dict[type[exp.Expr], str] = {exp.Like: "LIKE", exp.ILike: "ILIKE"}
CHOICES: dict[type[exp.Expr], str] = {
    exp.Coalesce: "coalesce", exp.Greatest: "greatest", exp.Least: "least", exp.Nullif: "nullif",
}  # fmt: skip
REFERENCES = (exp.Column, exp.Dot, exp.Bracket)
AGGREGATES = (
    exp.Avg, exp.Count, exp.CountIf, exp.Filter, exp.LogicalAnd, exp.LogicalOr, exp.Max, exp.Median, exp.Min,
    exp.PercentileDisc, exp.Sum,
)  # fmt: skip
NUMERIC = (
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.Abs, exp.Round, exp.Floor, exp.Ceil, exp.Length,
    exp.Avg, exp.Count, exp.CountIf, exp.Median, exp.PercentileDisc, exp.Sum,
)  # fmt: skip
_BOOLEAN = (
    *COMPARISONS, *TEXT_TESTS, *LIKES, exp.And, exp.Or, exp.Not, exp.Is, exp.In, exp.Between, exp.Boolean,
    exp.LogicalAnd, exp.LogicalOr,
)  # fmt: skip
_TEXTUAL = (*TEXT_FUNCTIONS, exp.Substring, exp.DPipe)
_STRUCTURE = (
    exp.Case, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Distinct, exp.Identifier, exp.If, exp.Literal,
    exp.Null, exp.Paren, exp.Star, exp.TryCast, exp.Where,
)  # fmt: skip

# Every node that there may be, and what it may carry beside `this`, `expression` and `expressions`. The
# parser sets flags of its own on some; whatever else it found (the mode of round(), CEIL(… TO …)) is refused
# and not overlooked.
_PLAIN: tuple[type[exp.Expr], ...] = (
    *_STRUCTURE, *REFERENCES, *CHOICES, *AGGREGATES, *NUMERIC, *_BOOLEAN, *_TEXTUAL,
)  # fmt: skip
_NODES: dict[type[exp.Expr], frozenset[str]] = {
    **{kind: frozenset[str]() for kind in _PLAIN},
    exp.Between: frozenset({"low", "high"}),
    exp.Case: frozenset({"ifs", "default"}),
    exp.Cast: frozenset({"to"}),
    exp.TryCast: frozenset({"to", "safe"}),
    exp.Column: frozenset({"table", "db", "catalog"}),
    exp.Count: frozenset({"big_int"}),
    exp.DPipe: frozenset({"safe"}),
    exp.Div: frozenset({"typed", "safe"}),
    exp.Greatest: frozenset({"ignore_nulls"}),
    exp.Identifier: frozenset({"quoted"}),
    exp.If: frozenset({"true", "false"}),
    exp.ILike: frozenset({"negate"}),
    exp.Least: frozenset({"ignore_nulls"}),
    exp.Like: frozenset({"negate"}),
    exp.Literal: frozenset({"is_string"}),
    exp.Round: frozenset({"decimals"}),
    exp.Substring: frozenset({"start", "length"}),
}
_PARTS = frozenset({"this", "expression", "expressions"})


def shown(node: exp.Expr) -> str:
    """An expression as a message quotes it."""
    text = node.sql(dialect="duckdb", comments=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def refuse(node: exp.Expr, why: str) -> InvalidExpression:
    return InvalidExpression(f"{shown(node)}: {why}")


def check_parts(tree: exp.Expr) -> None:
    """Raises InvalidExpression for a part that is not in the table of what there may be."""
    for node in tree.walk():
        carries = _NODES.get(type(node))
        if carries is None:
            raise refuse(node, f"is not allowed. {ALLOWED}")
        if node.error_messages():
            raise refuse(node, "lacks a part")
        for name, found in node.args.items():
            if found and name not in carries | _PARTS:
                raise refuse(node, f"{name.replace('_', ' ')} is not allowed here. {ALLOWED}")


def type_of(node: exp.Expr) -> Type:
    """What an expression gives, as far as that follows from itself alone."""
    match node:
        case exp.Paren() | exp.Filter():
            return type_of(node.this)
        case exp.Literal():
            return Type.TEXT if node.is_string else Type.NUMBER
        case exp.Null():
            return Type.NULL
        case exp.Column() | exp.Dot() | exp.Bracket():
            named = reference(node)
            return Type.PAYLOAD if isinstance(named, Path) else COLUMNS[named]
        case exp.Coalesce() | exp.Greatest() | exp.Least() | exp.Nullif():
            return common_type(operands(node), node)
        case exp.Case() | exp.If():
            return common_type(results(node), node)
        case exp.Cast() | exp.TryCast():
            return Type.TEXT if node.args["to"].this is exp.DType.TEXT else Type.NUMBER
        case exp.Min() | exp.Max():
            inner = type_of(node.this)
            return Type.NUMBER if inner is Type.PAYLOAD else inner
    if isinstance(node, _BOOLEAN):
        return Type.BOOLEAN
    if isinstance(node, NUMERIC):
        return Type.NUMBER
    if isinstance(node, _TEXTUAL):
        return Type.TEXT
    raise refuse(node, f"is not allowed here. {ALLOWED}")


def common_type(nodes: Iterable[exp.Expr], whole: exp.Expr) -> Type:
    """The one type that several expressions must have to be used together. Text that is written out may
    stand for an instant."""
    found = [(node, type_of(node)) for node in nodes]
    types = {type_ for _, type_ in found}
    written = all(isinstance(node.unnest(), exp.Literal) for node, type_ in found if type_ is Type.TEXT)
    if Type.INSTANT in types and written:
        types.discard(Type.TEXT)
    definite = types - {Type.PAYLOAD, Type.NULL}
    if len(definite) > 1:
        raise refuse(whole, f"puts {' and '.join(sorted(definite))} together")
    if definite:
        return definite.pop()
    return Type.PAYLOAD if Type.PAYLOAD in types else Type.NULL


def reference(node: exp.Expr) -> str | Path:
    """The column of the event, or the value of its payload, that a node names."""
    steps: list[str | int] = []
    part = node
    while not isinstance(part, exp.Column):
        if isinstance(part, exp.Bracket):
            steps.append(_index(part))
        elif isinstance(part, exp.Dot) and isinstance(part.expression, exp.Identifier):
            steps.append(part.expression.name)
        else:
            raise refuse(node, f"is not allowed. {ALLOWED}")
        part = part.this
    names = [found for key in ("catalog", "db", "table", "this") if (found := part.args.get(key))]
    for name in names:
        if not isinstance(name, exp.Identifier):
            hint = 'elements are payload.list[0], and names with other signs are payload."a-b"'
            raise refuse(node, f"is not a path; {hint}")
    first, *rest = [str(name.name) for name in names]
    path = (*rest, *reversed(steps))
    if first.lower() == "payload":
        if not path:
            raise refuse(node, "the whole payload is not a value; name one in it, such as payload.amount")
        if any(isinstance(step, str) and "\0" in step for step in path):
            raise refuse(node, "a name has a character that no SQL text can hold")
        return Path(path)
    column = first.lower()
    if path or column not in COLUMNS:
        raise refuse(node, f"there is no such column. {ALLOWED}")
    return column


def operands(node: exp.Expr) -> list[exp.Expr]:
    second = node.args.get("expression")
    return [node.this, *([second] if second is not None else node.expressions)]


def results(node: exp.Expr) -> list[exp.Expr]:
    """What a CASE or an if() may give, the value of ELSE at the end."""
    if isinstance(node, exp.Case):
        results, default = [branch.args["true"] for branch in node.args["ifs"]], node.args.get("default")
    else:
        results, default = [node.args["true"]], node.args.get("false")
    return results if default is None else [*results, default]


def whole_literal(node: exp.Expr) -> int | None:
    return int(node.name) if isinstance(node, exp.Literal) and node.name.isdecimal() else None


def _index(bracket: exp.Expr) -> int:
    """An element's number as it was written; the parser has taken 1 from it, as for DuckDB's lists."""
    inner = bracket.expressions[0] if len(bracket.expressions) == 1 else None
    number = inner.this if isinstance(inner, exp.Neg) else inner
    written = None if number is None else whole_literal(number)
    if written is None:
        raise refuse(
            bracket, "an element of a list is named by its number from 0 on, such as payload.list[0]"
        )
    index = (-written if isinstance(inner, exp.Neg) else written) + 1
    if index < 0:
        raise refuse(bracket, "elements are counted from the start, from 0 on")
    return index
