"""An SQS queue as a target: standard, which keeps no order, or FIFO, which keeps each entity's.

Quotas (SQS developer guide, Message quotas): 10 messages a call; a message or a call has had 1 MiB since
2025, and 256 KiB before, which queues may still be set to. Calls are filled up to 256 KiB; a larger message
goes alone, and the queue says whether it takes it. SendMessageBatch is billed by 64 KiB, so nothing is lost.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

from pik.aws.deliveries import UNANSWERED, failed, missing, of_entry, one_by_one, refused
from pik.aws.errors import call, is_code
from pik.domain.errors import Refused, Unavailable
from pik.planning.replay.batches import TargetOrder
from pik.ports.sinks import Batch, Delivery, Disposition, SinkTraits
from pik.ports.system import Offload

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

    from pik.planning.replay.messages import Message

FIFO_MEMORY = 300.0
"""Seconds for which a FIFO queue drops repeats of a MessageDeduplicationId."""

_BATCH_EVENTS = 10
_BATCH_BYTES = 262_144
_ATTRIBUTES_BYTES = 512  # of one message, at most
_GROUP = re.compile(r"[!-~]{1,128}")  # what a MessageGroupId may be
_NO_QUEUE = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")
_TEXT = "String"


class SQSSink:
    """`ports.Sink`. `client` should not retry by itself: the caller does, and keeps account of it."""

    def __init__(self, client: SQSClient, io: Offload, queue_url: str, in_flight: int = 8) -> None:
        self._client = client
        self._io = io
        self._url = queue_url
        self._fifo = queue_url.endswith(".fifo")
        self._traits = SinkTraits(
            batch_events=_BATCH_EVENTS,
            batch_bytes=_BATCH_BYTES - _BATCH_EVENTS * _ATTRIBUTES_BYTES,
            in_flight=in_flight,
            order=TargetOrder.MESSAGE if self._fifo else TargetOrder.NONE,
            remembers_seconds=FIFO_MEMORY if self._fifo else None,
        )

    @property
    def traits(self) -> SinkTraits:
        return self._traits

    async def send(self, batch: Batch) -> list[Delivery]:
        entries = [self._entry(n, batch.run_id, message) for n, message in enumerate(batch.messages)]
        try:
            answer = await call(
                self._io, self._client.send_message_batch, QueueUrl=self._url, Entries=entries
            )
        except Unavailable as error:
            return [failed(error)] * len(entries)
        except Refused as error:
            if is_code(error, *_NO_QUEUE):
                return [missing(f"queue {self._url}", "QueueNotFound")] * len(entries)
            return [refused(error)] if len(entries) == 1 else await one_by_one(batch, self.send)
        tries = 1 + answer["ResponseMetadata"].get("RetryAttempts", 0)
        found: dict[str, Delivery] = {}
        for sent in answer.get("Successful", []):
            found[sent["Id"]] = Delivery(Disposition.DELIVERED, sent["MessageId"], tries=tries)
        for failure in answer.get("Failed", []):
            # by the code first: SenderFault alone calls a throttled KMS key the sender's fault
            status = 400 if failure["SenderFault"] else 500
            found[failure["Id"]] = of_entry(failure["Code"], failure.get("Message", ""), status)
        return [found.get(entry["Id"], UNANSWERED) for entry in entries]

    async def close(self) -> None: ...

    def _entry(self, number: int, run_id: str, message: Message) -> SendMessageBatchRequestEntryTypeDef:
        entry: SendMessageBatchRequestEntryTypeDef = {
            "Id": str(number),
            "MessageBody": message.body.decode(),
            "MessageAttributes": {
                "contentType": {"DataType": _TEXT, "StringValue": "application/cloudevents+json"},
                "pikrun": {"DataType": _TEXT, "StringValue": run_id},
                "pikkey": {"DataType": _TEXT, "StringValue": message.key},
            },
        }
        if self._fifo:
            entry["MessageGroupId"] = message_group(message.entity_id)
            entry["MessageDeduplicationId"] = message.key
        return entry


def message_group(entity_id: str) -> str:
    """The MessageGroupId of an entity: its id where that can be one, else a hash of it, which no id that can
    be one looks like."""
    plain = _GROUP.fullmatch(entity_id) is not None and not entity_id.startswith("sha256:")
    return entity_id if plain else f"sha256:{sha256(entity_id.encode()).hexdigest()}"
