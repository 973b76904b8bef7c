"""A version as Athena computes it: the same hash, rows and inputs as `duckdb_engine` gives.

Athena reads the segments, decides which arrivals are events of the window, and sums up. What is exact in one
engine only is done here over what it found: the hash of the inputs, divisions, and the order of rows.

Which segments count is Athena's to see and not to decide: it counts the rows of each before and after, and
both times that has to be what the snapshot says. Segments only ever appear, so what was read in between was
the snapshot's too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec, TypeVar

import duckdb

from pik.domain.errors import Incomplete, OutOfMemory
from pik.execution.aggregate.athena import Athena
from pik.execution.aggregate.athena_results import Found, counts, finish, nothing, plan, rows_of
from pik.execution.aggregate.athena_scope import Sought, sought
from pik.execution.aggregate.duckdb_engine import DuckDBAnswer
from pik.execution.aggregate.queries import Queries, QuerySummary, first_round, folder_of, keep_summary
from pik.execution.aggregate.records import AsOf
from pik.execution.reading.relation import connect, lock_to
from pik.execution.reading.snapshot import Snapshot
from pik.execution.reading.threads import in_thread
from pik.execution.stream import Stream
from pik.planning.aggregate_sql import query_of
from pik.planning.definitions import Definition
from pik.planning.trino.query import Result, TrinoQuery, check

P = ParamSpec("P")
T = TypeVar("T")

_ROUNDS = 3  # that are begun, where segments land all the time
_STEPS = _BEFORE, _SURVEY, _INPUTS, _ROWS, _AFTER = ("before", "survey", "inputs", "rows", "after")


class AthenaEngine:
    """Computes one definition. `memory`: of what is done here, as in `relation.connect`."""

    def __init__(self, definition: Definition, athena: Athena, memory: str | None = None) -> None:
        """Raises InvalidExpression, NotSupported among them, and InvalidDefinition, naming the field."""
        self._query = query_of(definition)
        check(self._query)
        self._athena = athena
        self._memory = memory

    @asynccontextmanager
    async def answer(self, stream: Stream, known: AsOf, snapshot: Snapshot) -> AsyncIterator[DuckDBAnswer]:
        """What it comes to, as long as the connection is open. Raises UnreadableValue, naming an event,
        OutOfMemory, QueryFailed and Incomplete."""
        try:
            with closing(connect(self._memory)) as con, TemporaryDirectory(prefix="pik-") as name:
                folder = Path(name)
                lock_to(con, [str(folder / f"{step}.csv") for step in _STEPS])
                yield await self._answer(_Desk(stream, con, folder), known, snapshot)
        except duckdb.OutOfMemoryException as error:
            raise OutOfMemory(
                f"it needs more memory than the {self._memory or 'machine'} that it is given"
            ) from error

    async def _answer(self, desk: _Desk, known: AsOf, snapshot: Snapshot) -> DuckDBAnswer:
        stream, definition = desk.stream, self._query.definition
        table = self._athena.table(definition.stream_id)
        wanted = sought(stream, definition, snapshot, known, table)
        if not wanted.expected:
            return await desk.work(nothing, desk.con, stream, self._query, wanted.scope, desk.folder)
        folder = folder_of(stream, definition.hash, known)
        begun = 0
        for number in count(await first_round(stream, folder)):
            queries = Queries(stream, self._athena.service, folder, number, self._athena.halted)
            found = await self._round(desk, queries, wanted)
            if found is not None:
                await keep_summary(stream, folder, QuerySummary(tuple(queries.ids), queries.bytes_scanned))
                return found
            await queries.void()
            begun += queries.started > 0
            if begun >= _ROUNDS:
                break
        raise Incomplete("segments that do not count kept landing while Athena read; it is tried again")

    async def _round(self, desk: _Desk, queries: Queries, wanted: Sought) -> DuckDBAnswer | None:
        """One round of queries. None: another has to be made, as other segments were there at its end than at
        its beginning, or its beginning was seen by an earlier process and is not what it should be."""
        everything = TrinoQuery(self._query, wanted.scope)
        seen = await desk.work(counts, desk.con, await desk.ask(queries, _BEFORE, everything.census()))
        if (missing := wanted.missing(seen)) is not None:
            if queries.started:
                raise Incomplete(missing)
            return None
        asked = replace(everything, scope=replace(wanted.scope, excluded=wanted.strangers(seen)))
        survey = await desk.ask(queries, _SURVEY, asked.survey())
        scales, buckets = await desk.work(plan, desk.con, self._query, survey)
        inputs = await desk.ask(queries, _INPUTS, asked.inputs(scales, buckets))
        rows, outputs = asked.rows(scales, buckets)
        computed = await desk.ask(queries, _ROWS, rows)
        again = await desk.work(counts, desk.con, await desk.ask(queries, _AFTER, everything.census()))
        if again != seen:
            return None
        found = Found(scales, inputs, computed, outputs, wanted.names)
        return await desk.work(finish, desk.con, desk.stream, self._query, found, desk.folder)


@dataclass(frozen=True, slots=True)
class _Desk:
    """Where results are put and looked at."""

    stream: Stream
    con: duckdb.DuckDBPyConnection
    folder: Path

    async def ask(self, queries: Queries, step: str, result: Result) -> str:
        """Runs the query. SQL for its rows."""
        file = self.folder / f"{step}.csv"
        await queries.run(step, result.sql, file)
        return rows_of(file, result)

    async def work(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await in_thread(self.stream, self.con, work, *args, **kwargs)
