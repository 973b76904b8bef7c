# ruff: noqa: S608 - names and paths of our own
"""What Athena's queries found, taken into DuckDB's tables and brought to an end there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from pik.api.aggregate_version import TimeBucket
from pik.domain.errors import Incomplete
from pik.execution.aggregate.duckdb_engine import DuckDBAnswer, record_of
from pik.execution.aggregate.listing import list_inputs
from pik.execution.aggregate.selection import exactly, pieces_of, refuse, scales_of
from pik.execution.aggregate.tables import finished_rows
from pik.execution.stream import Stream
from pik.planning.aggregate_sql import BUCKET, AggregateQuery, Scales
from pik.planning.sql.payload import literal
from pik.planning.sql.values import Sql
from pik.planning.trino.buckets import Stretch, stretches
from pik.planning.trino.query import PROBLEM, Result, TrinoQuery
from pik.planning.trino.scope import Scope


@dataclass(frozen=True, slots=True)
class Found:
    """`inputs` and `rows`: SQL for what the queries gave; `outputs`: the measures over `rows`; `names`: of
    the segments, in the order of their arrivals."""

    scales: Scales
    inputs: str
    rows: str
    outputs: Sequence[Sql]
    names: Sequence[str]


def rows_of(file: Path, result: Result) -> str:
    """SQL for a result's rows in their types, from its CSV file."""
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in result.columns)
    return result.decoded(
        f"read_csv({literal(str(file))}, header = true, auto_detect = false, columns = {{{columns}}},"
        " delim = ',', quote = '\"', escape = '\"', nullstr = '')"
    )


def counts(con: duckdb.DuckDBPyConnection, census: str) -> dict[str, int]:
    """The rows of each segment."""
    return dict(con.execute(census).fetchall())


def plan(con: duckdb.DuckDBPyConnection, query: AggregateQuery, survey: str) -> tuple[Scales, list[Stretch]]:
    """Decimal places and buckets, as the events need them. Raises UnreadableValue."""
    con.execute(f"CREATE OR REPLACE TABLE survey AS {survey}")
    problems = (
        f"SELECT {PROBLEM}, CAST(sum(events) AS BIGINT), min(example) FROM survey"
        f" WHERE {PROBLEM} IS NOT NULL GROUP BY {PROBLEM} ORDER BY {PROBLEM} LIMIT 1"
    )
    refuse(con, "where", problems)
    needed = [f"coalesce(max(needed_{n}), 0)" for n in range(len(query.numbers))]
    scales: Scales = {}
    if needed:
        (found,) = con.execute(f"SELECT {', '.join(needed)} FROM survey").fetchall()
        scales = scales_of(query, [int(places) for places in found])
    if query.definition.bucket is TimeBucket.WINDOW:
        return scales, []
    slots = con.execute("SELECT DISTINCT epoch_us(slot) AS slot FROM survey ORDER BY slot").fetchall()
    pieces = pieces_of(query.definition, [slot for (slot,) in slots])
    return scales, stretches(query.definition.bucket, pieces)


def finish(
    con: duckdb.DuckDBPyConnection, stream: Stream, query: AggregateQuery, found: Found, folder: Path
) -> DuckDBAnswer:
    """The answer. Raises UnreadableValue and Incomplete."""
    con.execute(f"CREATE OR REPLACE TABLE found AS {found.inputs}")
    problems = (
        f"SELECT {PROBLEM}, count(*), min(event_id) FROM found"
        f" WHERE {PROBLEM} IS NOT NULL GROUP BY {PROBLEM} ORDER BY {PROBLEM} LIMIT 1"
    )
    refuse(con, "groupBy and measures", problems)
    numbers = pa.array(range(len(found.names)), pa.int64())
    con.register("given", pa.table({"segment": pa.array(found.names, pa.string()), "number": numbers}))
    con.execute("CREATE OR REPLACE TABLE segments AS SELECT * FROM given")
    con.unregister("given")
    con.execute(
        "CREATE OR REPLACE VIEW placed AS SELECT found.*,"
        " segments.number * 4294967296 + CAST(found.place AS BIGINT) AS arrival"
        " FROM found JOIN segments USING (segment)"
    )
    [(inputs, placed)] = con.execute(
        "SELECT (SELECT count(*) FROM found), (SELECT count(*) FROM placed)"
    ).fetchall()
    if inputs != placed:
        raise Incomplete(f"of {inputs} inputs {inputs - placed} are in no segment that was asked about")
    open_columns = query.open_columns(stream.fingerprint_exclude)
    with exactly("groupBy"):
        listed = list_inputs(con, query, found.scales, open_columns, found.names, folder)
    computed = [f"{sql.text} AS computed_{n}" for n, sql in enumerate(found.outputs)]
    relation = f"SELECT {', '.join([BUCKET, *computed])} FROM ({found.rows})"
    with exactly("measures"):
        rows = finished_rows(con, query, query.result(relation, found.outputs), found.outputs)
    return DuckDBAnswer(record_of(query.definition, listed, rows.num_rows), rows, listed.parts)


def nothing(
    con: duckdb.DuckDBPyConnection, stream: Stream, query: AggregateQuery, scope: Scope, folder: Path
) -> DuckDBAnswer:
    """The answer where there are no segments to ask about."""
    asked = TrinoQuery(query, scope)
    scales: Scales = dict.fromkeys(query.numbers, 0)
    rows, outputs = asked.rows(scales, ())
    found = Found(scales, _empty(asked.inputs(scales, ())), _empty(rows), outputs, ())
    return finish(con, stream, query, found, folder)


def _empty(result: Result) -> str:
    columns = ", ".join(f"CAST(NULL AS VARCHAR) AS {name}" for name in result.columns)
    return result.decoded(f"(SELECT {columns} WHERE false)")
