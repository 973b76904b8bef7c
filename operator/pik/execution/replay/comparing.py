"""After a run: whether its target has what the stream says was sent. Both are read, and compared event by
event in DuckDB, which keeps what does not fit into memory on disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, closing

import duckdb
import msgspec
import pyarrow as pa

from pik.domain.errors import Incomplete
from pik.execution.documents import document
from pik.execution.reading.relation import connect
from pik.execution.replay.ahead import Ahead
from pik.execution.replay.ledger import read_ledger
from pik.execution.replay.once import create_once
from pik.execution.replay.runs import planned, read_record, run_keys
from pik.execution.replay.transforms import transform_of
from pik.execution.stream import Stream
from pik.planning.replay.messages import Messages
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.records import Comparison, LedgerEntry, Result
from pik.ports.readback import ReadBack
from pik.ports.selection import Selector

_EXPECT = "INSERT INTO expected SELECT digest, event_id FROM piece"
_PUT = "INSERT INTO found SELECT digest FROM piece"
_COUNT = """
    WITH e AS (SELECT digest, count(*) AS n FROM expected GROUP BY digest),
         f AS (SELECT digest, count(*) AS n FROM found GROUP BY digest)
    SELECT coalesce(sum(e.n), 0), coalesce(sum(f.n), 0),
           coalesce(sum(greatest(e.n - coalesce(f.n, 0), 0)), 0),
           coalesce(sum(f.n) FILTER (e.digest IS NULL), 0),
           coalesce(sum(greatest(f.n - e.n, 0)) FILTER (e.digest IS NOT NULL), 0)
    FROM e FULL JOIN f USING (digest)
"""
_MISSING = """
    SELECT event_id FROM expected ANTI JOIN found USING (digest) ORDER BY event_id LIMIT 3
"""


async def compare_target(
    stream: Stream, run_id: str, selector: Selector, target: ReadBack, memory: str | None = None
) -> Comparison:
    """Of a run that has ended. The first comparison is kept beside the run's record. Raises what the stream
    and the target do, and `Incomplete` where stream and ledger do not fit."""
    plan = await planned(stream, run_id)
    with closing(connect(memory)) as con:
        con.execute("CREATE TABLE expected (digest BLOB, event_id VARCHAR)")
        con.execute("CREATE TABLE found (digest BLOB)")

        def expect(messages: Messages) -> None:
            ids = messages.events.column("event_id")
            _insert(con, _EXPECT, {"digest": target.digests(messages), "event_id": ids})

        def put(digests: pa.BinaryArray) -> None:
            _insert(con, _PUT, {"digest": digests})

        async with aclosing(_sent(stream, plan, selector)) as sent:
            async for messages in sent:
                await stream.offload(expect, messages)
        await target.found(run_id, put)
        compared = await stream.offload(_compared, con, stream.clock.now().text)
    key = run_keys(stream, run_id).comparison
    there = await create_once(stream, key, msgspec.json.encode(compared))
    return compared if there is None else document(key, there, Comparison)


async def _sent(stream: Stream, plan: ReplayPlan, selector: Selector) -> AsyncGenerator[Messages, None]:
    """What was sent of the plan, by the ledger, as it was sent."""
    record = await read_record(stream, plan.run_id)
    transform = await transform_of(stream, plan.spec, None if record is None else record.hash_key)
    shard, ahead = -1, None
    try:
        async for head, entries in read_ledger(stream, plan.run_id):
            if head.shard != shard or ahead is None:
                if ahead is not None:
                    await ahead.aclose()
                shard = head.shard
                ahead = Ahead(selector.read(plan, shard, 0), plan, stream.offload, transform)
            messages = await ahead.exactly(head.count)
            _check(messages, entries, head.start)
            positions = [entry.position - head.start for entry in entries if entry.result is Result.SENT]
            if positions:
                yield messages.at(positions)
            ahead.drop(len(messages))
    finally:
        if ahead is not None:
            await ahead.aclose()


def _check(messages: Messages, entries: list[LedgerEntry], start: int) -> None:
    ids = messages.events.column("event_id").to_pylist()
    for entry in entries:
        place = entry.position - start
        if place >= len(ids) or ids[place] != entry.event_id:
            raise Incomplete(f"event {entry.event_id} of the ledger is not where the plan has it")


def _insert(con: duckdb.DuckDBPyConnection, insert: str, columns: dict[str, pa.Array]) -> None:
    con.register("piece", pa.table(columns))
    con.execute(insert)
    con.unregister("piece")


def _compared(con: duckdb.DuckDBPyConnection, now: str) -> Comparison:
    [(expected, found, missing, extra, repeats)] = con.execute(_COUNT).fetchall()
    examples = tuple(event_id for (event_id,) in con.execute(_MISSING).fetchall())
    return Comparison(now, int(expected), int(found), int(missing), int(extra), int(repeats), examples)
