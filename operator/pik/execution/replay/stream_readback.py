"""What a stream has got of a run that was sent to it: the arrivals that carry the run's marker."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import duckdb
import msgspec
import pyarrow as pa

from pik.domain.instants import Instant
from pik.execution.reading.query import query
from pik.execution.reading.snapshot import take_snapshot
from pik.execution.stream import Stream
from pik.planning.replay.messages import Messages

_MARGIN = 3_600 * 1_000_000  # microseconds that the clocks of two gateways may differ by
_PIECE = 100_000  # rows
_FOUND = """
    SELECT unhex(sha256(concat(source, chr(10), idempotency_key, chr(10), payload_sha256))) AS digest
    FROM arrivals WHERE replay_of = ?
"""


class StreamReadBack:
    """`ports.ReadBack` of a stream that a run since `since` was sent to. Source, id and payload count.
    `memory` as in `relation.connect`."""

    def __init__(self, stream: Stream, since: Instant, memory: str | None) -> None:
        self._stream = stream
        self._since = since
        self._memory = memory

    def digests(self, messages: Messages) -> pa.BinaryArray:
        columns = ("source", "idempotency_key", "event_id", "data")
        rows = zip(*(messages.events.column(name).to_pylist() for name in columns), strict=True)
        return pa.array(
            [
                sha256(f"{source}\n{event_id if key is None else key}\n{_hex(data)}".encode()).digest()
                for source, key, event_id, data in rows
            ],
            pa.binary(),
        )

    async def found(self, run_id: str, put: Callable[[pa.BinaryArray], None]) -> None:
        snapshot = await take_snapshot(self._stream, now=self._stream.clock.now())
        first = Instant(self._since.micros - _MARGIN)
        recent = tuple(entry for entry in snapshot.segments if entry.ingest_time >= first)

        def work(con: duckdb.DuckDBPyConnection) -> None:
            for batch in con.sql(_FOUND, params=[run_id]).to_arrow_reader(_PIECE):
                put(batch.column("digest"))

        await query(self._stream, msgspec.structs.replace(snapshot, segments=recent), work, self._memory)


def _hex(payload: str) -> str:
    return sha256(payload.encode()).hexdigest()
