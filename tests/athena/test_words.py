"""What stands in the text that Athena gets: functions that Trino has, and no words that it reserves."""

from __future__ import annotations

import re
from functools import cache

from aggregate.questions import definition
from athena import expressions
from pik.api.aggregate_version import TimeBucket
from pik.domain.instants import parse_instant
from pik.domain.layout import hours_between
from pik.domain.windows import Window
from pik.planning.aggregate_sql import query_of
from pik.planning.trino.buckets import Stretch
from pik.planning.trino.query import TrinoQuery
from pik.planning.trino.scope import Scope
from pik.planning.trino.tables import Table
from reading.streams import START, after

# as the pages of Trino 4xx about functions have them
FUNCTIONS = {
    *(
        "abs",
        "bool_and",
        "bool_or",
        "coalesce",
        "count",
        "json_extract",
        "json_extract_scalar",
        "json_format",
    ),
    *(
        "greatest",
        "least",
        "length",
        "max",
        "min",
        "nullif",
        "regexp_extract",
        "regexp_like",
        "replace",
        "row_number",
    ),
    *("starts_with", "strpos", "substr", "sum", "to_hex", "to_utf8", "trim"),
}
SYNTAX = {  # words that brackets follow
    *("AND", "AS", "BETWEEN", "BY", "CASE", "CAST", "DECIMAL", "DISTINCT", "ELSE", "FILTER", "FROM", "IN"),
    *("IS", "JOIN", "NOT", "ON", "OR", "OVER", "SELECT", "THEN", "TRY_CAST", "WHEN", "WHERE", "WITH"),
}
RESERVED = {
    *("alter", "constraint", "create", "cross", "cube", "deallocate", "delete", "describe", "drop", "escape"),
    *("except", "execute", "exists", "extract", "for", "full", "grouping", "inner", "insert", "intersect"),
    *("into", "left", "listagg", "natural", "normalize", "outer", "prepare", "recursive", "right", "rollup"),
    *("skip", "table", "uescape", "union", "unnest", "using", "values", "row"),
}
_LITERAL = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")


@cache
def texts() -> list[str]:
    groups = tuple(text for text in expressions.GROUPS[:15])
    scope = Scope(
        table=Table("pik", "stream_x"),
        hours=tuple(hours_between(START, after(100_000))),
        first=START,
        last=after(100_000),
        window=Window(START, after(100_000)),
        on_read=True,
        received_by=after(5),
        excluded=("0" * 32 + ".g00000001",),
    )
    found = []
    for at, where in enumerate((*expressions.CONDITIONS, None)):
        measures = [
            (f"m{n}", text) for n, text in enumerate(expressions.MEASURES[at : at + 3] or ["count(*)"])
        ]
        asked = definition(START, after(9), *measures, bucket=TimeBucket.DAY, group_by=groups, where=where)
        query = query_of(asked)
        question = TrinoQuery(query, scope)
        scales = dict.fromkeys(query.numbers, 3)
        buckets = [Stretch(5, 0, 3_600_000_000), Stretch(7_200_000_000, 0, 7_200_000_000)]
        found += [question.census().sql, question.survey().sql]
        if at < len(expressions.MEASURES):
            found += [question.inputs(scales, buckets).sql, question.rows(scales, buckets)[0].sql]
    return found


def test_every_function_is_one_of_trinos() -> None:
    words = {word for text in texts() for word in re.findall(r"(\w+)\(", _LITERAL.sub("''", text))}
    words |= {word for text in texts() for word in re.findall(r"\b([A-Z_]+) \(", _LITERAL.sub("''", text))}
    assert words - FUNCTIONS - SYNTAX == set()
    assert FUNCTIONS - words == set()


def test_no_name_is_reserved_and_nothing_is_duckdbs_alone() -> None:
    for text in texts():
        bare = _LITERAL.sub("''", text)
        assert not RESERVED & set(re.findall(r"\b[a-z_]+\b", bare))
        assert not re.search(r"::|//|HUGEINT|IS TRUE|IS FALSE|ILIKE|epoch_us|make_timestamp", bare)


def test_partitions_are_named_and_no_others() -> None:
    first, last = parse_instant("2013-07-10T22:30:00Z"), parse_instant("2013-07-14T01:00:00Z")
    window = Window(first, last)
    table = Table("pik", "stream_x")
    scope = Scope(table, tuple(hours_between(first, last)), first, last, window, on_read=False)
    assert (
        "WHERE (ingest_date = '2013-07-10' AND hour IN ('22', '23')"
        " OR ingest_date BETWEEN '2013-07-11' AND '2013-07-13'"
        " OR ingest_date = '2013-07-14' AND hour IN ('00', '01'))"
        f" AND ingest_time BETWEEN CAST({first.micros} AS BIGINT) AND CAST({last.micros} AS BIGINT)"
    ) in scope.arrivals()
    assert '"pik"."stream_x"' in scope.arrivals()
    assert '"$path"' in scope.arrivals()
