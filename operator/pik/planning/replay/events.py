"""The events of a slice as columns, in the plan's order: what a selector reads and a sink is given."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pik.domain.transform import Transform

EVENTS = pa.schema(
    [
        pa.field("event_id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("event_type", pa.string()),
        pa.field("entity_id", pa.string()),
        pa.field("event_micros", pa.int64()),  # since 1970, UTC
        pa.field("event_time_rest", pa.string()),  # what is finer than that
        pa.field("event_time_text", pa.string()),  # the producer's own
        pa.field("idempotency_key", pa.string()),
        pa.field("attributes", pa.string()),  # a JSON object, or null
        pa.field("data", pa.string()),  # the payload as it was captured
        pa.field("segment", pa.string()),
        pa.field("row", pa.int32()),
        pa.field("repeat", pa.bool_()),  # an arrival after the first, with duplicates: All
    ]
)


HEADERS = pa.field("headers", pa.string())
"""A further column, where a target is sent headers again: a JSON object, or null."""


def payload_bytes(events: pa.RecordBatch) -> int:
    """Of all its events."""
    return int(pc.sum(pc.binary_length(events.column("data"))).as_py() or 0)


def transformed(events: pa.RecordBatch, transform: Transform) -> pa.RecordBatch:
    """The events with other payloads."""
    place = events.schema.get_field_index("data")
    payloads = pa.array(map(transform, events.column(place).to_pylist()), pa.string())
    return events.set_column(place, EVENTS.field("data"), payloads)


def has_repeats(events: pa.RecordBatch) -> bool:
    """Whether any of them is an arrival after the first."""
    return bool(pc.any(events.column("repeat")).as_py())


def fitting(events: pa.RecordBatch, most: int) -> int:
    """How many of these events, from the first on, have at most so many bytes of payload together; at least 1
    where there are any."""
    if payload_bytes(events) <= most:
        return len(events.column("data"))
    ends = pc.cumulative_sum(pc.binary_length(events.column("data")).cast(pa.int64()))
    count: int = pc.sum(pc.less_equal(ends, most)).as_py()
    return max(1, count)
