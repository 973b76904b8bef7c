"""SQL expressions of users: conditions, groups and measures over an event's columns and `payload.<path>`.

The text is parsed in DuckDB's dialect, checked against an allow-list, and written anew (pik.planning.sql):
what computes it sees no character of it that is not in a quoted literal. All that is allowed is a function
of the events alone: no clock, no chance, no files, no settings, no order.

What a value of the payload is read as follows from its use: as a number with numbers and in arithmetic, as
text with text, as a condition where one is needed, and as text of whatever kind as a group and in
count(DISTINCT …). Missing and null are NULL. A value of another JSON type than its use asks for is no NULL
but a problem, with which nothing is computed: TRY_CAST says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from pik.domain.errors import InvalidExpression
from pik.planning.sql.grammar import Type, check_parts
from pik.planning.sql.measures import MeasureSql
from pik.planning.sql.payload import FromData, Path, Reading, Source
from pik.planning.sql.rows import RowSql
from pik.planning.sql.values import Sql
from pik.planning.sql.words import DUCKDB, ScaleOf, Words

MAX_CONDITION = 4096  # characters
MAX_EXPRESSION = 1024  # characters
_MAX_NESTING = 16  # of brackets and CASE
_MAX_ELEMENTS = 64  # of lists, by their numbers: the parser is slow on chains of them
_MAX_DEPTH = 48  # of operators within operators, chains of AND and OR counted once

_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END})
_PREFIXES = frozenset({TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE})


class Role(Enum):
    """Where an expression stands."""

    CONDITION = auto()
    GROUP = auto()
    MEASURE = auto()

    @property
    def want(self) -> Type | None:
        return Type.BOOLEAN if self is Role.CONDITION else None

    def maker(self, source: Source, scale_of: ScaleOf, words: Words = DUCKDB) -> RowSql:
        return (MeasureSql if self is Role.MEASURE else RowSql)(source, scale_of, words)


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression and what it reads of an event."""

    text: str  # as the user wrote it
    tree: exp.Expr
    role: Role
    type: Type
    readings: tuple[Reading, ...]
    paths: tuple[Path, ...]  # of `readings`, and those only looked at for IS NULL
    columns: tuple[str, ...]

    def sql(self, source: Source, scale_of: ScaleOf | None = None, words: Words = DUCKDB) -> Sql:
        """The expression over a relation that has `columns` under their names and its payloads in `source`.
        It is right for rows in which `problem` finds none. `scale_of` must give what the rows' numbers need;
        without it they are looked at one by one, at `row_scale`."""
        return self.role.maker(source, self.places(scale_of), words).of(self.tree, self.role.want)

    def problem(self, source: Source, scale_of: ScaleOf | None = None, words: Words = DUCKDB) -> str | None:
        """SQL for why a row cannot be read as the expression reads it (VARCHAR, NULL where it can). None:
        each row can. It speaks of the payload's paths and types and never of its values."""
        places = self.places(scale_of)
        found = [sql for r in self.readings if (sql := words.problem(r, source, places(r)))]
        return f"coalesce({', '.join(found)})" if found else None

    @property
    def row_scale(self) -> int:
        """Decimal places of numbers where nothing is known of the other rows' numbers: 18 leave 20 digits
        before the point, 9 leave room for a product."""
        return 9 if self.tree.find(exp.Mul, exp.Div) else 18

    def places(self, scale_of: ScaleOf | None) -> ScaleOf:
        """Those that each reading gets, by `scale_of` where the expression says nothing."""
        given = scale_of or (lambda _: self.row_scale)
        return lambda r: 0 if not r.kind.is_number else given(r) if r.places is None else r.places


def guarded(condition: Expression) -> str:
    """SQL for a condition over `data` and the event's columns that fails on a row with a problem instead of
    leaving it out. Evaluate it over rows that were chosen before (MATERIALIZED): a condition on the same
    level may be evaluated after it."""
    sql = condition.sql(FromData()).text
    found = condition.problem(FromData())
    if found is None:
        return sql
    why = f"{found} || ' (event ' || event_id || ')'"
    return f"(CASE WHEN {found} IS NULL THEN {sql} ELSE error({why}) END)"


def parse_condition(text: str) -> Expression:
    """A condition over one event. Raises InvalidExpression, naming the part and what is allowed."""
    return _expression(text, MAX_CONDITION, Role.CONDITION)


def parse_group(text: str) -> Expression:
    """A value of one event that tells groups apart. Raises InvalidExpression."""
    group = _expression(text, MAX_EXPRESSION, Role.GROUP)
    if not group.paths and not group.columns:
        raise InvalidExpression(f"{text}: is the same for every event; group by a column or a payload.<path>")
    return group


def parse_measure(text: str) -> Expression:
    """A value of many events. Raises InvalidExpression."""
    measure = _expression(text, MAX_EXPRESSION, Role.MEASURE)
    if not measure.tree.find(exp.AggFunc):
        raise InvalidExpression(f"{text}: has no aggregate, such as count(*) or avg(payload.amount)")
    return measure


def _expression(text: str, longest: int, role: Role) -> Expression:
    tree = _parse(text, longest)
    maker = role.maker(FromData(), lambda reading: reading.places or 0)
    try:
        made = maker.of(tree, role.want)
    except RecursionError as error:
        raise InvalidExpression("the expression is too deeply nested") from error
    used = tuple(maker.readings), tuple(maker.paths), tuple(maker.columns)
    return Expression(text, tree, role, made.type, *used)


def _parse(text: str, longest: int) -> exp.Expr:
    if len(text) > longest:
        raise InvalidExpression(f"an expression of {len(text)} characters; at most {longest} are allowed")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidExpression("an expression has characters that no SQL text can hold")
    try:
        tokens = sqlglot.tokenize(text, dialect="duckdb")
        _check_tokens(tokens)
        trees = sqlglot.parse(text, dialect="duckdb")
        tree = trees[0] if len(trees) == 1 else None
        if tree is None:
            raise InvalidExpression("not one expression" if trees else "an empty expression")
        _check_depth(tree)
        check_parts(tree)
    except TokenError as error:
        raise InvalidExpression(f"not SQL: {error}") from error
    except ParseError as error:
        raise InvalidExpression(_first_error(error)) from error
    except RecursionError as error:
        raise InvalidExpression("the expression is too deeply nested") from error
    return tree


def _check_tokens(tokens: list[Token]) -> None:
    """What the parser would drop, or recurse into without end."""
    nesting = prefixes = 0
    for number, token in enumerate(tokens):
        if token.comments:
            raise InvalidExpression("comments are not allowed in an expression")
        if token.token_type is TokenType.SEMICOLON:
            raise InvalidExpression("; is not allowed: this is one expression, not statements")
        if token.token_type is TokenType.DECIMAL and _stands_alone(tokens, number):
            raise InvalidExpression("DECIMAL without (p, s) would round at 3 places; write DECIMAL(38, 6)")
        nesting += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
        prefixes = prefixes + 1 if token.token_type in _PREFIXES else 0
        if nesting > _MAX_NESTING or prefixes > _MAX_NESTING:
            raise InvalidExpression(f"an expression may be nested {_MAX_NESTING} deep")
    if sum(token.token_type is TokenType.L_BRACKET for token in tokens) > _MAX_ELEMENTS:
        raise InvalidExpression(f"an expression may name {_MAX_ELEMENTS} elements of lists")


def _stands_alone(tokens: list[Token], number: int) -> bool:
    """Whether a type's name has no parameters, and is not a member's name."""
    before, after = tokens[max(number - 1, 0)], tokens[min(number + 1, len(tokens) - 1)]
    return before.token_type is not TokenType.DOT and after.token_type is not TokenType.L_PAREN


def _check_depth(tree: exp.Expr) -> None:
    waiting = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise InvalidExpression(f"an expression may have {_MAX_DEPTH} operators within operators")
        for child in node.iter_expressions():
            same = isinstance(node, exp.And | exp.Or) and type(child) is type(node)
            waiting.append((child, depth if same else depth + 1))


def _first_error(error: ParseError) -> str:
    first = error.errors[0] if error.errors else {}
    where = f" at character {first['col']}, near {first['highlight']!r}" if first.get("highlight") else ""
    return (
        f"not an expression: it cannot be parsed{where}. Names that are words of SQL or have other signs are "
        'quoted: payload."order-id"'
    )
