"""A stream of millions of events, made by DuckDB and pyarrow and not one by one.

Its segments lie in a folder, as if they had been fetched; its manifest and its runs are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.domain.instants import Instant
from pik.domain.layout import Layout, segment_id
from pik.domain.segments import SegmentEntry, SegmentHead, TimeRange
from pik.execution.parquet import FORMAT, SCHEMA, ParquetCodec
from pik.execution.reindex import reindex
from pik.execution.segment_cache import SegmentCache
from pik.execution.stream import Deduplication, Stream
from pik.memory.index import MemoryIndex, MemoryTable
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.ports.index import Reservation
from pik.ports.objects import StoredObject

ROWS = 10_000  # a segment
EVERY = 20  # of so many events, one is sent again a little later
FIRST = 1_700_000_000_000_000  # microseconds: event time of event 0; they are a second apart
MANY_ENTITIES = "'N' || ('0x' || word[:8])::UBIGINT % 10000"
"""10,000 of them."""

_STAMP = 1_704_067_200_000_000  # when the first segment was taken in
_STEP = 60_000_000  # microseconds between two segments
LAYOUT = Layout("", "0" * 32)
_DICTIONARY = ["source", "event_type", "entity_id", "event_time_rest", "outcome"]

_DECIDED = "CASE WHEN row_number() OVER (PARTITION BY number) > 1 THEN 'DUPLICATE' ELSE 'ACCEPTED' END"

_ROWS = """
WITH numbers AS (
    SELECT unnest(range({first}, {end})) AS number
    UNION ALL SELECT unnest(range({first} + {every} - {first} % {every}, {end}, {every})) AS number
), said AS (
    SELECT number, md5(number::VARCHAR) AS word FROM numbers
)
SELECT
    (row_number() OVER ())::INTEGER - 1 AS "row",
    sha256('event ' || number) AS event_id,
    'departures' AS source,
    'flight' AS event_type,
    {entity} AS entity_id,
    make_timestamp({zero} + number * 1000000)::TIMESTAMPTZ AS event_time,
    '' AS event_time_rest,
    strftime(make_timestamp({zero} + number * 1000000), '%Y-%m-%dT%H:%M:%SZ') AS event_time_text,
    NULL::TIMESTAMPTZ AS received_time,
    NULL::VARCHAR AS received_time_rest,
    make_timestamp({stamp})::TIMESTAMPTZ AS ingest_time,
    number || '-' || word[:16] AS idempotency_key,
    sha256('payload ' || number) AS payload_sha256,
    sha256('payload ' || number) AS fingerprint,
    {outcome} AS outcome,
    NULL::VARCHAR AS winner,
    NULL::VARCHAR AS replay_of,
    NULL::VARCHAR AS attributes,
    '{{"number":' || number || ',"carrier":"' || word[:2] || '","flight":' || number % 9000
        || ',"origin":"EWR","dest":"' || word[3:5] || '","dep_delay":' || number % 61 - 10
        || ',"arr_delay":' || number % 83 - 20 || ',"air_time":227,"distance":1400,"tail":"N' || word[:6]
        || '"}}' AS data
FROM said
"""


def segments(
    folder: Path, events: int, deduplication: Deduplication, entity: str, start: int = 0
) -> Iterator[SegmentEntry]:
    """Writes them into the folder. `entity`: SQL over `number` and `word`. The events are numbered from
    `start` on."""
    on_read = deduplication is Deduplication.ON_READ
    folder.mkdir(parents=True, exist_ok=True)
    with closing(duckdb.connect()) as con:
        con.execute("SET TimeZone = 'UTC'")
        for piece, first in enumerate(range(start, start + events, ROWS)):
            end = min(start + events, first + ROWS)
            stamp = _STAMP + (first // ROWS) * _STEP
            repeated = "row_number() OVER (PARTITION BY number) > 1"
            outcome = (
                "'RECORDED'" if on_read else f"CASE WHEN {repeated} THEN 'DUPLICATE' ELSE 'ACCEPTED' END"
            )
            found = con.sql(
                _ROWS.format(
                    first=first, end=end, every=EVERY, entity=entity, zero=FIRST, stamp=stamp, outcome=outcome
                )
            ).to_arrow_table()
            yield _written(folder, found, Instant(stamp), f"{piece:020x}", first, end)


def _written(
    folder: Path, rows: pa.Table, stamp: Instant, entropy: str, first: int, end: int
) -> SegmentEntry:
    head = SegmentHead(LAYOUT.stream_id, segment_id(stamp, entropy, 1), stamp)
    metadata = {
        "pik.format": FORMAT,
        "pik.stream": head.stream_id,
        "pik.segment": str(head.segment),
        "pik.ingest_time": stamp.text,
    }
    path = folder / f"{head.segment}.parquet"
    table = rows.cast(SCHEMA.with_metadata(metadata))
    bloom = {name: {"ndv": len(rows), "fpp": 0.01} for name in ("event_id", "entity_id")}
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=3,
        use_dictionary=_DICTIONARY,
        max_rows_per_page=500,
        write_page_checksum=True,
        bloom_filter_options=bloom,
    )
    body = path.read_bytes()
    outcomes = {pair["values"]: pair["counts"] for pair in table.column("outcome").value_counts().to_pylist()}
    return SegmentEntry(
        segment=head.segment,
        key=LAYOUT.segment(head.segment),
        sha256=sha256(body).hexdigest(),
        bytes=len(body),
        rows=len(rows),
        ingest_time=stamp,
        known_from=stamp,
        event_time=TimeRange(Instant(FIRST + first * 1_000_000), Instant(FIRST + (end - 1) * 1_000_000)),
        received_time=None,
        outcomes=outcomes,
        sources=("departures",),
        event_types=("flight",),
        sources_complete=True,
        event_types_complete=True,
    )


class Forgetting(MemoryObjectStore):
    """Knows that large objects are there, and not what is in them."""

    async def create(self, key: str, body: bytes, content_type: str = "application/json") -> Instant:
        kept = body if content_type == "application/json" else body[: body.find(b"\n") + 1]
        return await super().create(key, kept, content_type)


async def large(
    folder: Path,
    entries: list[SegmentEntry],
    deduplication: Deduplication,
    *,
    keeps: bool = True,
    index: Sequence[Reservation] = (),
) -> Stream:
    """The stream of these segments. Its bucket knows their keys, and none of their bytes: nothing reads what
    the folder has. `keeps` False: the bodies of ledgers and lists of inputs, which nobody reads here, are not
    kept in memory either, as they would not be with S3. `index`: the entries that its index has."""
    clock, offload, table, bucket = SystemClock(), ThreadOffload(2), MemoryTable(), MemoryBucket()
    objects = MemoryObjectStore(bucket, clock) if keeps else Forgetting(bucket, clock)
    stream = Stream(
        "bench",
        deduplication.lower(),
        LAYOUT,
        deduplication,
        None,
        (),
        objects,
        MemoryIndex(table),
        SegmentCache(objects, folder, offload),
        ParquetCodec(),
        clock,
        SystemEntropy(),
        offload,
    )
    await reindex(stream, table.ensure)
    table.entries.update({entry.event_id: entry for entry in index})
    for entry in entries:
        table.segments[entry.segment] = entry
        bucket.objects[entry.key] = StoredObject(b"", entry.sha256, entry.ingest_time)
    return stream
