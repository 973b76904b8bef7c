"""Users' SQL: what it means, how exactly it computes, and what is refused."""

# ruff: noqa: S608 - that SQL is built from checked expressions is what is tested
from __future__ import annotations

import json
import random
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import cache
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pik.domain.errors import InvalidExpression
from pik.planning.expressions import Expression, guarded, parse_condition, parse_group, parse_measure
from pik.planning.sql.payload import FromData, exact_payload

NOON = 1_373_457_600_000_000  # 2013-07-10T12:00:00Z

EVENTS = [
    '{"n": 1.5, "s": "UA", "z": null, "l": [1, {"x": 2}], "b": true, "q w": "z", "num": "12.5"}',
    '{"n": -2, "s": "DL", "b": false, "l": [], "num": "NA", "o": {"p": {"q": [[7]]}}, "e\\u0301": "é"}',
    '{"n": 2e1, "s": null, "num": 7, "PAYLOAD": 1, "a/b~c": 3, "say \\"hi\\"": 4}',
]


@cache
def connection() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    return con


def database(payloads: Iterable[str]) -> duckdb.DuckDBPyConnection:
    rows = [
        (str(number), f"entity {number % 2}", payload, NOON + number * 1_500_000)
        for number, payload in enumerate(payloads)
    ]
    columns = zip(*rows, strict=True)
    connection().execute(
        "CREATE OR REPLACE TABLE events AS SELECT event_id, entity_id, data, make_timestamptz(micros) AS"
        " event_time, NULL::TIMESTAMPTZ AS received_time FROM (SELECT unnest(?) AS event_id, unnest(?) AS"
        " entity_id, unnest(?) AS data, unnest(?) AS micros)",
        [list(column) for column in columns],
    )
    return connection()


def selected(text: str, payloads: Iterable[str] = EVENTS) -> list[int]:
    condition = guarded(parse_condition(text))
    found = database(payloads).execute(f"SELECT event_id FROM events WHERE {condition} ORDER BY 1").fetchall()
    return [int(event_id) for (event_id,) in found]


def number(con: duckdb.DuckDBPyConnection, expression: Expression, scale: int | None = None) -> Any:
    """What a measure gives, as a Decimal where it is a number."""
    sql = expression.sql(FromData(), None if scale is None else lambda _: scale)
    (found,) = con.execute(f"SELECT {sql.text} FROM events").fetchone() or ()
    if not isinstance(found, int) or isinstance(found, bool):
        return found
    with localcontext(prec=80):
        return Decimal(found).scaleb(-sql.scale)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("payload.n > 0", [0, 2]),
        ("payload.n >= 1.5 AND payload.n < 20", [0]),
        ("payload.n = 20.000", [2]),
        ("-payload.n = 2", [1]),
        ("payload.n BETWEEN -3 AND 1.5", [0, 1]),
        ("payload.n NOT BETWEEN -3 AND 1.5", [2]),
        ("payload.n IN (1.50, 20)", [0, 2]),
        ("payload.n + 1 = 2.5", [0]),
        ("payload.n % 2 = 1.5", [0]),
        ("payload.n / 3 = 6.666666666667", [2]),
        ("payload.n / 0 IS NULL", [0, 1, 2]),
        ("floor(payload.n) = 1 OR ceil(payload.n) = -2", [0, 1]),
        ("round(payload.n) = 2", [0]),  # half away from zero
        ("abs(payload.n) = 2", [1]),
        ("greatest(payload.n, 3) = 3", [0, 1]),
        ("payload.s = 'UA'", [0]),
        ("payload.s <> 'UA'", [1]),
        ("payload.s IS DISTINCT FROM 'UA'", [1, 2]),
        ("payload.s IS NULL", [2]),
        ("payload.s IN ('UA', 'AA')", [0]),
        ("payload.s NOT IN ('UA', 'AA')", [1]),
        ("payload.s LIKE 'U%'", [0]),
        ("payload.s NOT LIKE 'U%'", [1]),
        ("payload.s ILIKE 'u_'", [0]),
        ("lower(payload.s) || '!' = 'ua!'", [0]),
        ("substr(payload.s, 2, 1) = 'A'", [0]),
        ("length(payload.s) = 2", [0, 1]),
        ("starts_with(payload.s, 'D') OR contains(payload.s, 'A')", [0, 1]),
        ("coalesce(payload.s, 'none') = 'none'", [2]),
        ("nullif(payload.s, 'UA') IS NULL", [0, 2]),
        ("payload.b", [0]),
        ("NOT payload.b", [1]),
        ("payload.b IS NOT TRUE", [1, 2]),
        ("payload.z IS NULL AND payload.never IS NULL", [0, 1, 2]),
        ("payload.l IS NOT NULL", [0, 1]),
        ("payload.l[0] = 1", [0]),
        ("payload.l[1].x = 2", [0]),
        ("payload.o.p.q[0][0] = 7", [1]),
        ("payload.\"q w\" = 'z'", [0]),
        ('payload."a/b~c" = 3', [2]),
        ('payload."say ""hi""" = 4', [2]),
        ('payload."PAYLOAD" = 1', [2]),
        ("payload.payload IS NULL", [0, 1, 2]),  # names in a payload tell cases apart
        ("PAYLOAD.n > 0 AND Entity_ID = 'entity 0'", [0, 2]),
        ("TRY_CAST(payload.num AS DECIMAL(9, 2)) = 12.5", [0]),
        ("TRY_CAST(payload.num AS DECIMAL(38, 0)) = 13", [0]),
        ("TRY_CAST(payload.num AS DECIMAL(3, 2)) IS NULL", [0, 1]),  # 12.50 has 4 digits
        ("CAST(payload.num AS VARCHAR) = '7'", [2]),
        ("CAST(payload.n AS VARCHAR) IN ('1.5', '20')", [0, 2]),
        ("CASE WHEN payload.b THEN payload.n ELSE 0 END > 1", [0]),
        ("CASE payload.s WHEN 'UA' THEN 1 WHEN 'DL' THEN 2 END = 2", [1]),
        ("if(payload.b, 1, 2) = 1", [0]),
        ("event_time >= '2013-07-10T08:00:01-04:00'", [1, 2]),
        ("event_time - '2013-07-10T12:00:00Z' = 1.5", [1]),
        ("received_time IS NULL", [0, 1, 2]),
        ("coalesce(received_time, event_time) = event_time", [0, 1, 2]),
        ("payload.s = 'DL' OR payload.s = 'UA' AND payload.n > 2", [1]),
        ("NOT (payload.s = 'DL' OR payload.n > 2)", [0]),
        ("payload.s = '1; DROP TABLE events --'", []),  # text, however it looks
        ("payload.s = 'it''s'", []),
        ("true", [0, 1, 2]),
    ],
)
def test_what_a_condition_selects(condition: str, expected: list[int]) -> None:
    assert selected(condition) == expected


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("payload.s > 1", "payload.s is not a number, but a string (event 0)"),
        ("payload.n = 'UA'", "payload.n is not a string, but a number (event 0)"),
        ("payload.n", "payload.n is not true or false, but a number (event 0)"),
        ("CAST(payload.l AS VARCHAR) = '1'", "a string, a number, true or false, but of type array"),
        ("CAST(payload.num AS DECIMAL(9, 2)) > 0", "payload.num is not a number or a string that holds one"),
        ("CAST(payload.n AS DECIMAL(2, 1)) > 0", "1 before the point and 1 after it"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_no_null(condition: str, words: str) -> None:
    """A row that cannot be read is not quietly left out (law 5)."""
    with pytest.raises(duckdb.InvalidInputException) as raised:
        selected(condition)
    assert words in str(raised.value)


def test_digits_beyond_what_can_be_computed_are_an_error_and_not_rounded() -> None:
    long = '{"x": 0.1234567890123456789}'
    with pytest.raises(duckdb.InvalidInputException, match="more digits than can be computed with exactly"):
        selected("payload.x > 0", [long])
    assert selected("round(payload.x, 6) = 0.123457", [long]) == [0]
    assert selected("TRY_CAST(payload.x AS DECIMAL(38, 18)) = 0.123456789012345679", [long]) == [0]


HOSTILE = [
    "",
    "   ",
    "(SELECT count(*) FROM events) > 0",
    "EXISTS (SELECT 1)",
    "payload.a IN (SELECT 1)",
    "payload.a = ANY (SELECT 1)",
    "read_csv('/etc/passwd') IS NULL",
    "read_text('/etc/passwd') = ''",
    "getenv('HOME') = ''",
    "ATTACH 'x.db'",
    "PRAGMA database_list",
    "COPY events TO 'x'",
    "SET memory_limit = '1TB'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CALL pragma_version()",
    "SELECT 1",
    "DROP TABLE events",
    "true; DROP TABLE events",
    "true;",
    "true -- comment",
    "true /* comment */",
    "/* only a comment */",
    "payload.a > 1) OR (true",
    "sum(payload.a) OVER () > 0",
    "row_number() OVER () > 0",
    "count(*) > 0",
    "now() > event_time",
    "current_timestamp > event_time",
    "current_date IS NULL",
    "random() < 0.5",
    "uuid() = ''",
    "nextval('s') = 1",
    "current_setting('memory_limit') = ''",
    "query('SELECT 1')",
    "eval('1')",
    "list_transform([1], x -> x) IS NULL",
    "[x FOR x IN [1]] IS NULL",
    "{'a': 1} IS NULL",
    "struct_pack(a := 1) IS NULL",
    "unnest([1]) = 1",
    "payload.a::DOUBLE > 1",
    "payload.a::FLOAT > 1",
    "payload.a::DECIMAL > 1",
    "payload.a::BLOB IS NULL",
    "payload.a::JSON IS NULL",
    "payload.a::STRUCT(b INT) IS NULL",
    "payload.a::INT[] IS NULL",
    "payload.a::DATE IS NULL",
    "payload.a ~ '(a+)+$'",
    "regexp_matches(payload.a, 'x')",
    "payload.a COLLATE NOCASE = 'x'",
    "payload.a -> 'b' IS NULL",
    "json_extract(data, '$') IS NULL",
    "data = ''",
    "outcome = 'ACCEPTED'",
    "nothing = 1",
    "other.a = 1",
    "events.data = ''",
    "payload = 1",
    "payload.* IS NULL",
    "* IS NULL",
    "COLUMNS(*) IS NULL",
    "payload.a.0 = 1",
    "payload.'a' = 1",
    "payload.a[-1] = 1",
    "payload.a[1:2] IS NULL",
    "payload.a[payload.b] = 1",
    "payload['a'] = 1",
    "payload.a() = 1",
    "main.avg(payload.a) = 1",
    "payload.a = ?",
    "payload.a = $1",
    "payload.a = :name",
    "payload.a = NULL",
    "NULL IS NULL",
    "payload.a = payload.b",
    "payload.a IN ()",
    "payload.a IN (payload.b)",
    "(payload.a, 1) IN ((1, 1))",
    "payload.a = 1 AS x",
    "payload.a x",
    "1",
    "'true'",
    "event_time",
    "event_time > 1",
    "event_time > 'yesterday'",
    "event_time > '2013-07-10'",
    "event_time > payload.a",
    "event_time + 1 > event_time",
    "event_time AT TIME ZONE 'UTC' IS NULL",
    "INTERVAL 1 DAY IS NULL",
    "payload.a ** 2 = 4",
    "payload.a // 2 = 4",
    "payload.a & 1 = 1",
    "sqrt(payload.a) = 1",
    "round(payload.a, payload.b) = 1",
    "round(payload.a, -1) = 1",
    "round(payload.a, 1, 'half_even') = 1",
    "floor(payload.a, 1) = 1",
    "trim(BOTH 'x' FROM payload.a) = ''",
    "payload.a LIKE 'a!%' ESCAPE '!'",
    "concat(payload.a, 'x') = ''",
    "'a' 'b' = 'ab'",
    "payload.a = 123456789012345678901234567890123456789",
    "payload.a = 1e-39",
    "payload.a = 1e999999999999",
    "payload.a = 0x1F",
    "payload.select = 1",
    "payload.a = 'unclosed",
    'payload."unclosed = 1',
    "payload.a = 'nul\0'",
    "payload.a = 'half \ud800 a pair'",
    "GROUPING SETS",
    "payload.a ELSE payload.b",
    "payload.a ELSE",
    "ELSE payload.a",
    "true END",
    "BEGIN true END",
    "payload.a > 1 AND",
    "(" * 500 + "true" + ")" * 500,
    "NOT " * 500 + "true",
    "payload.a = " + "- " * 500 + "1",
    "payload.a = " + "abs(" * 300 + "1" + ")" * 300,
    "payload.a = " + "1 + " * 900 + "1",
    "CASE WHEN " * 100 + "true" + " THEN true END" * 100,
    "payload" + ".a" * 1500 + " = 1",
    "payload.a" + "[0]" * 1000 + " = 1",
    "payload.a / payload.a / payload.a / payload.a / payload.a / payload.a / payload.a / payload.a = 1",
    "true OR " * 600 + "true",  # longer than 4096 characters
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:60])
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidExpression):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("now() > event_time", "NOW(): is not allowed. Allowed are the columns event_id,"),
        ("payload.a = payload.b", "payload.a = payload.b: both are values of the payload"),
        ("payload.select = 1", 'quoted: payload."order-id"'),
        ("payload.a.0 = 1", "elements are payload.list[0]"),
        ("event_time > 'yesterday'", "'yesterday': not an RFC 3339 instant"),
        ("payload.a + 'x' = 2", "'x': is text, and a number is needed here"),
        ("entity_id = 5", "entity_id = 5: puts a number and text together"),
    ],
)
def test_a_refusal_names_the_part_and_a_way_out(text: str, words: str) -> None:
    with pytest.raises(InvalidExpression) as raised:
        parse_condition(text)
    assert words in str(raised.value)


def test_long_chains_are_no_nesting() -> None:
    assert selected(" OR ".join(f"payload.n = {n}" for n in range(20, 240))) == [2]
    assert selected(" AND ".join(["payload.b"] * 290)) == [0]


TOKENS = [
    "payload", ".", "a", "b", "[", "]", "(", ")", "0", "1.5", "'x'", '"y"', "AND", "OR", "NOT", "IS", "NULL",
    "=", "<", "+", "-", "*", "/", "%", "||", ",", "CASE", "WHEN", "THEN", "ELSE", "END", "IN", "BETWEEN",
    "LIKE", "count", "sum", "avg", "FILTER", "WHERE", "DISTINCT", "CAST", "AS", "DECIMAL", "event_time",
    "entity_id", "coalesce", "round", "SELECT", "FROM", ";", "--", "/*", "::", "->", ":", "{", "}", "OVER",
    "ORDER", "BY", "?", "$1", "INTERVAL", "TRUE", "e'", "\\", "\n", "é", "@",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=14))
def test_whatever_is_not_refused_runs(words: list[str]) -> None:
    """No input gives another error than InvalidExpression, and what passes is SQL that DuckDB takes."""
    con = database(["{}"])
    text = " ".join(words)
    for parse in (parse_condition, parse_group, parse_measure):
        try:
            parsed = parse(text)
        except InvalidExpression:
            continue
        sql = parsed.sql(FromData()).text
        con.execute(
            f"SELECT count({sql}) FROM events" if parse is not parse_measure else f"SELECT {sql} FROM events"
        )


@given(st.text(max_size=40))
def test_no_text_at_all_gives_another_error(text: str) -> None:
    for parse in (parse_condition, parse_group, parse_measure):
        try:
            parse(text)
        except InvalidExpression:
            continue


# numbers

LEXEMES = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{whole}{fraction}{exponent}",
    st.sampled_from(["", "-"]),
    st.one_of(st.just("0"), st.integers(1, 10**14).map(str), st.integers(1, 999).map(str)),
    st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,10}", fullmatch=True)),
    st.one_of(st.just(""), st.sampled_from(["e0", "E2", "e+3", "e-2", "E-4"])),
)
LONG_LEXEMES = st.builds(
    lambda sign, whole, fraction: f"{sign}{whole}{fraction}",
    st.sampled_from(["", "-"]),
    st.one_of(st.just("0"), st.integers(10**15, 10**17).map(str)),
    st.from_regex(r"\.[0-9]{12,18}", fullmatch=True),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(LEXEMES, LONG_LEXEMES), min_size=1, max_size=8))
def test_numbers_are_read_to_the_last_digit(lexemes: list[str]) -> None:
    con = database(f'{{"x": {lexeme}}}' for lexeme in lexemes)
    with localcontext(prec=80):
        values = [Decimal(lexeme) for lexeme in lexemes]
        assert number(con, parse_measure("sum(payload.x)"), 18) == sum(values)
        assert number(con, parse_measure("max(payload.x)"), 18) == max(values)
        assert number(con, parse_measure("min(payload.x)"), 18) == min(values)
        mean = (sum(values) / len(values)).quantize(Decimal(1).scaleb(-18), ROUND_HALF_UP)
        assert number(con, parse_measure("avg(payload.x)"), 18) == mean
        for places in (0, 3):
            rounded = [v.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP) for v in values]
            assert number(con, parse_measure(f"sum(round(payload.x, {places}))")) == sum(rounded)


@given(st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.text(max_size=12),
        st.one_of(LEXEMES, LONG_LEXEMES).map(lambda lexeme: ("#", lexeme)),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
))  # fmt: skip
@settings(max_examples=200, deadline=None)
@example(["#", None])
def test_only_numbers_change_in_the_exact_payload(value: Any) -> None:
    """The text from which long numbers are read differs from the payload in that numbers are strings."""

    def text(value: Any, quote: str) -> str:
        match value:
            case tuple():  # not a list of such items: those are payload too
                return f"{quote}{value[1]}{quote}"
            case list():
                return "[" + ", ".join(text(item, quote) for item in value) + "]"
            case dict():
                return "{" + ", ".join(f"{json.dumps(k)}: {text(v, quote)}" for k, v in value.items()) + "}"
        return json.dumps(value)

    whole = {"long": ("#", "0.12345678901234567"), "value": value}
    (found,) = duckdb.execute(f"SELECT {exact_payload('?')}", [text(whole, "")] * 3).fetchone() or ()
    assert json.loads(found) == json.loads(text(whole, '"'))


NUMBERS = st.lists(st.decimals(-9999, 9999, places=3, allow_nan=False), min_size=1, max_size=7)


@settings(max_examples=100, deadline=None)
@given(NUMBERS, st.decimals(-50, 50, places=2, allow_nan=False))
def test_measures_against_decimals(values: list[Decimal], by: Decimal) -> None:
    con = database(f'{{"x": {value}}}' for value in values)
    places = Decimal("1e-12")
    with localcontext(prec=100):
        ordered = sorted(values)
        middle = len(ordered) // 2
        median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
        expected: dict[str, Any] = {
            "count(*)": len(values),
            f"count_if(payload.x > {by})": sum(v > by for v in values),
            f"count(*) FILTER (WHERE payload.x <= {by})": sum(v <= by for v in values),
            f"sum(payload.x * {by})": sum(v * by for v in values),
            f"sum(payload.x - {by})": sum(v - by for v in values),
            "median(payload.x)": median,
            "count(DISTINCT payload.x)": len(set(values)),
            "count(DISTINCT CAST(payload.x AS DECIMAL(38, 1)))":
                len({v.quantize(Decimal("0.1"), ROUND_HALF_UP) for v in values}),
            "sum(floor(payload.x))": sum(v.__floor__() for v in values),
            "sum(ceil(payload.x))": sum(v.__ceil__() for v in values),
            f"bool_or(payload.x > {by})": any(v > by for v in values),
            f"bool_and(payload.x > {by})": all(v > by for v in values),
            "max(payload.x) - min(payload.x)": ordered[-1] - ordered[0],
            f"sum(payload.x / {by})":
                sum((v / by).quantize(places, ROUND_HALF_UP) for v in values) if by else None,
            "sum(CASE WHEN payload.x < 0 THEN -payload.x END)":
                sum(-v for v in values if v < 0) if ordered[0] < 0 else None,
        }  # fmt: skip
        assert {text: number(con, parse_measure(text)) for text in expected} == expected


def test_the_order_of_addition_does_not_matter() -> None:
    """The reason for it all: a sum of doubles depends on the order that threads bring about."""
    chosen = random.Random(7)
    values = [chosen.uniform(-1e6, 1e6) * 10 ** chosen.randint(-9, 3) for _ in range(400)]
    found, doubles = set(), set()
    for _ in range(12):
        chosen.shuffle(values)
        con = database(f'{{"x": {value!r}}}' for value in values)
        found.add(number(con, parse_measure("avg(round(payload.x, 12))"), 18))
        doubles.add(sum(values))
    assert len(doubles) > 1
    assert len(found) == 1


def test_a_number_that_outgrows_38_digits_is_an_error() -> None:
    con = database(['{"x": 99999999999999999999}'] * 2)
    with pytest.raises(duckdb.OutOfRangeException):
        number(con, parse_measure("sum(payload.x * payload.x)"))


@pytest.mark.parametrize(
    "text",
    [
        "1", "payload.a", "sum(payload.a) + payload.a", "sum(count(*))", "first(payload.a)",
        "list(payload.a)",
        "any_value(payload.a)", "string_agg(payload.a, ',')", "approx_count_distinct(payload.a)",
        "mode(payload.a)", "arg_max(payload.a, payload.b)", "stddev(payload.a)",
        "quantile_cont(payload.a, 0.5)",
        "quantile_disc(payload.a, 1.5)", "quantile_disc(payload.a, payload.b)", "sum(DISTINCT payload.a)",
        "sum(payload.a ORDER BY event_time)", "sum(payload.a) IGNORE NULLS", "min(payload.a, 3)",
        "count(payload.a, payload.b)", "count(DISTINCT payload.a, payload.b)", "count(DISTINCT *)",
        "sum(payload.a) OVER ()", "sum(payload.a) FILTER (WHERE count(*) > 1)", "sum(entity_id)",
        "avg(event_time)", "payload.a FILTER (WHERE true)", "sum(payload.a) FILTER (WHERE payload.b + 1)",
        "percentile_disc(0.5) WITHIN GROUP (ORDER BY payload.a)", "count(*) AS n", "payload.a IS NULL",
        "entity_id", "sum(payload.a), 1", "max(payload.a) = max(event_time)",
    ],
)  # fmt: skip
def test_measures_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidExpression):
        parse_measure(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("payload.s", ["UA", "DL", None]),
        ("payload.num", ["12.5", "NA", "7"]),
        ("payload.b", ["true", "false", None]),
        ("entity_id", ["entity 0", "entity 1", "entity 0"]),
        ("payload.n > 0", [True, False, True]),
        ("coalesce(payload.s, payload.num)", ["UA", "DL", "7"]),
        ("CAST(payload.n AS INTEGER)", [2, -2, 20]),
    ],
)
def test_groups(text: str, expected: list[Any]) -> None:
    sql = parse_group(text).sql(FromData()).text
    found = database(EVENTS).execute(f"SELECT {sql} FROM events ORDER BY event_id").fetchall()
    assert [value for (value,) in found] == expected


@pytest.mark.parametrize("text", ["1", "'x'", "count(*)", "payload", "now()", "NULL"])
def test_groups_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidExpression):
        parse_group(text)


def test_equal_numbers_are_one_group() -> None:
    """However they are written, and whatever else is in their payloads."""
    payloads = ['{"x": 100}', '{"x": 100.0}', '{"x": 1e2, "long": 0.12345678901234567}', '{"x": "100"}']
    sql = parse_group("payload.x").sql(FromData()).text
    found = database(payloads).execute(f"SELECT DISTINCT {sql} FROM events").fetchall()
    assert found == [("100",)]


def test_what_an_expression_reads() -> None:
    measure = parse_measure("avg(payload.a.b) FILTER (WHERE payload.c IS NULL AND entity_id <> source)")
    assert [path.text for path in measure.paths] == ["payload.c", "payload.a.b"]
    assert [reading.path.text for reading in measure.readings] == ["payload.a.b"]
    assert measure.columns == ("entity_id", "source")
