"""Segments as Parquet: one row per arrival, readable where it lies by DuckDB, Athena, Spark, Trino, pandas.

`row` is INT32, `event_time`, `received_time` and `ingest_time` are TIMESTAMP(us, UTC), the rest is STRING;
`…_rest` holds an instant's digits beyond microseconds. A segment with kept headers has
the column `headers` besides (STRING, a JSON object). File metadata: `pik.format`, `pik.stream`,
`pik.segment`, `pik.ingest_time`, and `pik.shapes` (domain.shapes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pik.domain.arrivals import Arrival, Outcome, Row
from pik.domain.columns import Columns, columns_of, recorded
from pik.domain.errors import Tampered
from pik.domain.instants import Instant, parse_instant
from pik.domain.segments import SegmentHead, parse_segment_id
from pik.domain.shapes import shapes_of

FORMAT = "1"
_TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("entity_id", pa.string(), nullable=False),
        pa.field("event_time", _TIME, nullable=False),
        pa.field("event_time_rest", pa.string(), nullable=False),
        pa.field("event_time_text", pa.string(), nullable=False),
        pa.field("received_time", _TIME),
        pa.field("received_time_rest", pa.string()),
        pa.field("ingest_time", _TIME, nullable=False),
        pa.field("idempotency_key", pa.string()),
        pa.field("payload_sha256", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("winner", pa.string()),
        pa.field("replay_of", pa.string()),
        pa.field("attributes", pa.string()),
        pa.field("data", pa.string(), nullable=False),
    ]
)
HEADERS = pa.field("headers", pa.string())
_WITH_HEADERS = SCHEMA.append(HEADERS)
_DICTIONARY = [
    "source",
    "event_type",
    "entity_id",
    "event_time_rest",
    "received_time_rest",
    "outcome",
    "winner",
    "replay_of",
    "headers",
]
# A page is the smallest part of a file that a flipped byte can make unreadable: small pages let a
# verification name few rows.
_ROWS_A_PAGE = 500
# Without an index entry an event (OnRead), these let a reader skip the segments that cannot hold an id.
_BLOOM_COLUMNS = ["event_id", "entity_id"]


class ParquetCodec:
    """`ports.SegmentCodec` in Parquet with zstd. Pure: bytes in, bytes out; run it through `Offload`."""

    def encode(self, head: SegmentHead, rows: Sequence[Row]) -> bytes:
        return self._encode(
            head,
            columns_of([row.arrival for row in rows]),
            [row.row for row in rows],
            [row.outcome.value for row in rows],
            [row.winner for row in rows],
        )

    def encode_columns(self, head: SegmentHead, arrivals: Columns) -> bytes:
        count = len(arrivals)
        return self._encode(head, arrivals, range(count), recorded(arrivals), [None] * count)

    def _encode(
        self,
        head: SegmentHead,
        arrivals: Columns,
        numbers: Sequence[int],
        outcomes: Sequence[str],
        winners: Sequence[str | None],
    ) -> bytes:
        received = arrivals.received_time
        columns: list[Sequence[Any]] = [
            numbers,
            arrivals.event_id,
            arrivals.source,
            arrivals.event_type,
            arrivals.entity_id,
            arrivals.event_micros,
            arrivals.event_rest,
            arrivals.event_time_text,
            [None if time is None else time.micros for time in received],
            [None if time is None else time.rest for time in received],
            [head.ingest_time.micros] * len(arrivals),
            arrivals.idempotency_key,
            arrivals.payload_sha256,
            arrivals.fingerprint,
            outcomes,
            winners,
            arrivals.replay_of,
            arrivals.attributes,
            arrivals.data,
        ]
        schema = SCHEMA
        if any(arrivals.headers):
            schema = _WITH_HEADERS
            columns.append(arrivals.headers)
        arrays = [_array(values, field) for values, field in zip(columns, schema, strict=True)]
        metadata = {
            "pik.format": FORMAT,
            "pik.stream": head.stream_id,
            "pik.segment": str(head.segment),
            "pik.ingest_time": head.ingest_time.text,
            "pik.shapes": msgspec.json.encode(
                shapes_of(arrivals.event_type, arrivals.data, arrivals.event_id)
            ).decode(),
        }
        table = pa.Table.from_arrays(arrays, schema=schema.with_metadata(metadata))
        bloom = {"ndv": max(len(arrivals), 1), "fpp": 0.01}
        sink = pa.BufferOutputStream()
        pq.write_table(
            table,
            sink,
            compression="zstd",
            compression_level=3,
            use_dictionary=_DICTIONARY,
            write_page_checksum=True,
            max_rows_per_page=_ROWS_A_PAGE,
            bloom_filter_options=dict.fromkeys(_BLOOM_COLUMNS, bloom),
        )
        body: bytes = sink.getvalue().to_pybytes()
        return body

    def decode(self, body: bytes) -> tuple[SegmentHead, list[Row]]:
        try:
            table = pq.read_table(pa.BufferReader(body), page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise Tampered(f"not a readable segment: {error}") from error
        head = read_head(table.schema.metadata)
        schema = _WITH_HEADERS if HEADERS.name in table.schema.names else SCHEMA
        if not table.schema.equals(schema, check_metadata=False):
            raise Tampered(f"a segment without its columns: {table.schema.names}")
        try:
            columns = [_values(column, field) for column, field in zip(table.columns, schema, strict=True)]
            return head, [_row(schema.names, values) for values in zip(*columns, strict=True)]
        except (ValueError, pa.ArrowException) as error:  # an outcome that is none, bytes that are no text
            raise Tampered(f"not a segment's values: {error}") from error


def read_head(metadata: dict[bytes, bytes] | None) -> SegmentHead:
    """What a segment's file metadata says. Raises `Tampered` where it says nothing sensible."""
    try:
        found = {key.decode(): value.decode() for key, value in (metadata or {}).items()}
        if found["pik.format"] != FORMAT:
            raise Tampered(f"a segment of format {found['pik.format']!r}, which this version does not know")
        return SegmentHead(
            found["pik.stream"],
            parse_segment_id(found["pik.segment"]),
            parse_instant(found["pik.ingest_time"]),
        )
    except (KeyError, ValueError) as error:
        raise Tampered(f"not a segment's metadata: {error}") from error


def _array(values: Sequence[Any], field: pa.Field) -> pa.Array:
    if field.type == _TIME:
        return pa.array(values, pa.int64()).cast(_TIME)
    if field.name == "data":
        # the bytes were proved to be UTF-8 when the payload was read
        return pa.array(values, pa.binary()).cast(pa.string())
    return pa.array(values, field.type)


def _values(column: pa.ChunkedArray, field: pa.Field) -> list[Any]:
    if field.type == _TIME:
        column = column.cast(pa.int64())
    if field.name == "data":
        column = column.cast(pa.binary())
    values: list[Any] = column.to_pylist()
    return values


def _row(names: Sequence[str], values: tuple[Any, ...]) -> Row:
    cell = dict(zip(names, values, strict=True))
    received = None
    if cell["received_time"] is not None:
        received = Instant(cell["received_time"], cell["received_time_rest"] or "")
    arrival = Arrival(
        event_id=cell["event_id"],
        source=cell["source"],
        event_type=cell["event_type"],
        entity_id=cell["entity_id"],
        event_time=Instant(cell["event_time"], cell["event_time_rest"]),
        event_time_text=cell["event_time_text"],
        received_time=received,
        idempotency_key=cell["idempotency_key"],
        payload_sha256=cell["payload_sha256"],
        fingerprint=cell["fingerprint"],
        data=cell["data"],
        attributes=cell["attributes"],
        replay_of=cell["replay_of"],
        headers=cell.get("headers"),
    )
    return Row(cell["row"], arrival, Outcome(cell["outcome"]), cell["winner"])
