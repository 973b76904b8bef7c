"""Arrivals under an id that was known already: duplicates, or conflicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

from pik.domain.identity import canonical
from pik.execution.stream import Deduplication, Stream

_BATCH = 1_000


def open_repeats(con: duckdb.DuckDBPyConnection, stream: Stream) -> None:
    """Makes the table `repeats`: `arrival`, `first` (the event's arrival; NULL where it is not in the
    snapshot) and `conflict`, of every arrival but those from a replay, which is not news.

    OnWrite: what was answered. OnRead: what would have been: a conflict differs from the event in type,
    entity, event time or payload, and not only in the payload's spelling.
    """
    if stream.deduplication is Deduplication.ON_WRITE:
        con.execute(
            """
            CREATE TABLE repeats AS
            SELECT arrivals.arrival, events.arrival AS first, arrivals.outcome = 'CONFLICT' AS conflict
            FROM arrivals
            LEFT JOIN events ON events.event_id = arrivals.event_id AND events.segment = arrivals.winner
            WHERE arrivals.outcome IN ('DUPLICATE', 'CONFLICT')
            """
        )
        return
    con.execute(
        """
        CREATE TABLE repeated AS
        SELECT event_id, min(arrival) AS first FROM arrivals
        WHERE outcome IN ('RECORDED', 'REPLAYED') GROUP BY event_id HAVING count(*) > 1
        """
    )
    con.execute(
        """
        CREATE TABLE compared AS
        SELECT this.arrival, event.arrival AS first, this.fingerprint = event.fingerprint AS equal,
            this.event_type = event.event_type AND this.entity_id = event.entity_id
            AND this.event_time = event.event_time AND this.event_time_rest = event.event_time_rest AS alike
        FROM arrivals AS this
        JOIN repeated USING (event_id)
        JOIN arrivals AS event ON event.arrival = repeated.first
        WHERE this.outcome = 'RECORDED' AND this.arrival <> repeated.first
        """
    )
    respelled = pa.table({"arrival": pa.array(_respelled(con, stream.fingerprint_exclude), pa.int64())})
    con.register("respelled", respelled)
    con.execute(
        """
        CREATE TABLE repeats AS
        SELECT arrival, first, NOT equal AND arrival NOT IN (SELECT arrival FROM respelled) AS conflict
        FROM compared
        """
    )
    con.unregister("respelled")


def _respelled(con: duckdb.DuckDBPyConnection, exclude: tuple[str, ...]) -> Iterator[int]:
    """Arrivals whose payload differs from the event's in spelling only."""
    pairs = in_batches(
        con,
        """
        SELECT compared.arrival, event.data, this.data
        FROM compared
        JOIN arrivals AS event ON event.arrival = compared.first
        JOIN arrivals AS this ON this.arrival = compared.arrival
        WHERE NOT equal AND alike
        """,
    )
    for arrival, first, other in pairs:
        if canonical(first.encode(), exclude) == canonical(other.encode(), exclude):
            yield arrival


def in_batches(con: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[Any, ...]]:
    """A query's rows, never all of them in memory."""
    found = con.execute(query)
    while rows := found.fetchmany(_BATCH):
        yield from rows
