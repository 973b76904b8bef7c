"""A Kinesis data stream as a target: each entity is a partition key, so that it lies in one shard, in order.

Quotas (PutRecords, API reference): 500 records a call; 5 MiB a call and 1 MiB a record, keys included. Both
have been 10 MiB since 2025 for streams that are set to it: a record above 1 MiB goes alone, and the stream
says whether it takes it.

Records of a call are taken or failed each by itself, and one that failed does not keep those after it from
being taken: a call with two events of an entity would swap them. So a call never has two.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from pik.aws.deliveries import UNANSWERED, apart, failed, missing, of_entry, one_by_one, refused
from pik.aws.errors import call, is_code
from pik.domain.errors import NoSuchTable, Refused, Unavailable
from pik.planning.attributes import with_attributes
from pik.planning.replay.batches import TargetOrder
from pik.ports.sinks import Batch, Delivery, Disposition, SinkTraits
from pik.ports.system import Offload

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import PutRecordsRequestEntryTypeDef, PutRecordsResultEntryTypeDef

    from pik.planning.replay.messages import Message

_BATCH_EVENTS = 500
_BATCH_BYTES = 5 * 2**20
_RECORD_BYTES = 2**20
_KEY_BYTES = 256  # of a partition key, at most
_MARK_BYTES = 128  # what `pikkey` adds to an event, at most


class KinesisSink:
    """`ports.Sink`. `client` should not retry by itself. `stream`: an ARN or a name."""

    def __init__(self, client: KinesisClient, io: Offload, stream: str, in_flight: int = 4) -> None:
        self._client = client
        self._io = io
        self._stream = stream
        self._traits = SinkTraits(
            batch_events=_BATCH_EVENTS,
            batch_bytes=_BATCH_BYTES - _BATCH_EVENTS * (_KEY_BYTES + _MARK_BYTES),
            in_flight=in_flight,
            order=TargetOrder.MESSAGE,
            remembers_seconds=None,
        )

    @property
    def traits(self) -> SinkTraits:
        return self._traits

    async def send(self, batch: Batch) -> list[Delivery]:
        records = [_record(message) for message in batch.messages]
        large = [n for n, record in enumerate(records) if _size(record) > _RECORD_BYTES]
        if large and len(records) > 1:
            return await apart(batch, large, self.send)
        return await self._put(batch, records)

    async def close(self) -> None: ...

    async def _put(self, batch: Batch, records: list[PutRecordsRequestEntryTypeDef]) -> list[Delivery]:
        try:
            if self._stream.startswith("arn:"):
                answer = await call(
                    self._io, self._client.put_records, StreamARN=self._stream, Records=records
                )
            else:
                answer = await call(
                    self._io, self._client.put_records, StreamName=self._stream, Records=records
                )
        except Unavailable as error:
            return [failed(error)] * len(records)
        except (Refused, NoSuchTable) as error:
            if is_code(error, "ResourceNotFoundException"):
                return [missing(f"stream {self._stream}", "StreamNotFound")] * len(records)
            if not isinstance(error, Refused):
                raise
            return [refused(error)] if len(records) == 1 else await one_by_one(batch, self.send)
        told = answer["Records"]
        if len(told) != len(records):
            return [UNANSWERED] * len(records)
        tries = 1 + answer["ResponseMetadata"].get("RetryAttempts", 0)
        return [_judged(one, tries) for one in told]


def partition_key(entity_id: str) -> str:
    """The partition key of an entity: its id where that can be one, else a hash of it, which no id that can
    be one looks like."""
    encoded = entity_id.encode()
    plain = 0 < len(encoded) <= _KEY_BYTES and not entity_id.startswith("sha256:")
    return entity_id if plain else f"sha256:{sha256(encoded).hexdigest()}"


def _record(message: Message) -> PutRecordsRequestEntryTypeDef:
    body = with_attributes(message.body, pikkey=message.key)
    return {"Data": body, "PartitionKey": partition_key(message.entity_id)}


def _size(record: PutRecordsRequestEntryTypeDef) -> int:
    return len(record["Data"]) + len(record["PartitionKey"].encode())  # type: ignore[arg-type]


def _judged(told: PutRecordsResultEntryTypeDef, tries: int) -> Delivery:
    if code := told.get("ErrorCode"):
        return of_entry(code, told.get("ErrorMessage", ""))
    return Delivery(Disposition.DELIVERED, f"{told.get('ShardId')} {told.get('SequenceNumber')}", tries=tries)
