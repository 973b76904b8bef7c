"""A place in S3 as a target: the slice as objects, one or more a chunk, as Parquet or NDJSON.

Keys: `<prefix>/run=<run id>/shard=0000/chunk=00000000-<of its messages' keys>.parquet`. They are the same in
every try and created conditionally: a repeat finds its object there and overwrites nothing.

Parquet has one row an event, with the columns of a segment that say what it is. NDJSON has one CloudEvent a
line; a line break between a payload's tokens becomes a space there, since it would end the line.
"""

from __future__ import annotations

from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pik.api.targets import S3Format
from pik.domain.errors import AlreadyExists, NoSuchBucket, Refused, Unavailable
from pik.planning.json_columns import joined, lines
from pik.planning.replay.batches import TargetOrder
from pik.planning.replay.messages import Messages
from pik.ports.objects import ObjectStore
from pik.ports.sinks import Batch, Delivery, Disposition, SinkTraits
from pik.ports.system import Offload

_TIME = pa.timestamp("us", tz="UTC")
_OPTIONAL = ("idempotency_key", "attributes")
_LINE_BREAKS = "[\\r\\n]"
_CONTENT_TYPES = {S3Format.PARQUET: "application/vnd.apache.parquet", S3Format.NDJSON: "application/x-ndjson"}
_SUFFIXES = {S3Format.PARQUET: "parquet", S3Format.NDJSON: "ndjson"}


class S3Sink:
    """`ports.Sink`. `objects`: the target's bucket; `prefix`: without a slash at its end."""

    def __init__(
        self, objects: ObjectStore, prefix: str, form: S3Format, offload: Offload, in_flight: int = 4
    ) -> None:
        self._objects = objects
        self._prefix = prefix
        self._form = form
        self._offload = offload
        self._traits = SinkTraits(
            batch_events=100_000,
            batch_bytes=64 * 2**20,
            in_flight=in_flight,
            order=TargetOrder.BATCH,
            remembers_seconds=float("inf"),
        )

    @property
    def traits(self) -> SinkTraits:
        return self._traits

    async def send(self, batch: Batch) -> list[Delivery]:
        key = object_key(self._prefix, batch, self._form)
        body = await self._offload(_ENCODERS[self._form], batch.messages)
        return [await self._put(key, body)] * len(batch.messages)

    async def close(self) -> None: ...

    async def _put(self, key: str, body: bytes) -> Delivery:
        try:
            await self._objects.create(key, body, _CONTENT_TYPES[self._form])
        except AlreadyExists:
            return Delivery(Disposition.DELIVERED, f"{key} was there")
        except NoSuchBucket as error:
            return Delivery(Disposition.RETRYABLE, str(error)[:300], "NoSuchBucket")
        except Unavailable as error:
            return Delivery(Disposition.RETRYABLE, str(error)[:300], "Unavailable")
        except Refused as error:
            return Delivery(Disposition.REFUSED, str(error)[:300], "Refused")
        return Delivery(Disposition.DELIVERED, key)


def object_key(prefix: str, batch: Batch, form: S3Format) -> str:
    """Where a batch lies."""
    content = sha256("\n".join(batch.messages.keys.to_pylist()).encode()).hexdigest()[:16]
    place = f"run={batch.run_id}/shard={batch.shard:04d}/chunk={batch.chunk:08d}-{content}"
    return f"{prefix}/{place}.{_SUFFIXES[form]}"


def _parquet(messages: Messages) -> bytes:
    events = messages.events
    columns = {
        "event_id": events.column("event_id"),
        "source": events.column("source"),
        "event_type": events.column("event_type"),
        "entity_id": events.column("entity_id"),
        "event_time": events.column("event_micros").cast(_TIME),
        "event_time_text": events.column("event_time_text"),
        "idempotency_key": events.column("idempotency_key"),
        "attributes": events.column("attributes"),
        "data": events.column("data"),
        "replay_key": messages.keys,
    }
    fields = [pa.field(name, column.type, nullable=name in _OPTIONAL) for name, column in columns.items()]
    table = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    body: bytes = sink.getvalue().to_pybytes()
    return body


def ndjson(messages: Messages) -> bytes:
    """A CloudEvent a line."""
    bodies = messages.bodies.cast(pa.string())
    return bytes(lines(joined(pc.replace_substring_regex(bodies, _LINE_BREAKS, " "), "\n")))


_ENCODERS = {S3Format.PARQUET: _parquet, S3Format.NDJSON: ndjson}
