"""An SQS queue as a target: standard, which keeps no order, or FIFO, which keeps each entity's.

Quotas (SQS developer guide, Message quotas): 10 messages a call; a message or a call has had 1 MiB since
2025, and 256 KiB before, which queues may still be set to. Calls are filled up to 256 KiB; a larger message
goes alone, and the queue says whether it takes it. SendMessageBatch is billed by 64 KiB, so nothing is lost.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import ClientError

from pik.aws.errors import call, code, is_code, of_code
from pik.domain.errors import Denied, PikError, Refused, Throttled, Unavailable
from pik.planning.replay.batches import TargetOrder
from pik.ports.sinks import Batch, Delivery, Disposition, SinkTraits
from pik.ports.system import Offload

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import BatchResultErrorEntryTypeDef, SendMessageBatchRequestEntryTypeDef

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
            return [_failed(error)] * len(entries)
        except Refused as error:
            if is_code(error, *_NO_QUEUE):
                gone = Delivery(Disposition.RETRYABLE, f"there is no queue {self._url}", "QueueNotFound")
                return [gone] * len(entries)
            return await self._refused(batch, error)
        tries = 1 + answer["ResponseMetadata"].get("RetryAttempts", 0)
        found: dict[str, Delivery] = {}
        for sent in answer.get("Successful", []):
            found[sent["Id"]] = Delivery(Disposition.DELIVERED, sent["MessageId"], tries=tries)
        for failure in answer.get("Failed", []):
            found[failure["Id"]] = _of_entry(failure)
        unanswered = Delivery(Disposition.RETRYABLE, "the answer did not mention it", "Unanswered")
        return [found.get(entry["Id"], unanswered) for entry in entries]

    async def close(self) -> None: ...

    async def _refused(self, batch: Batch, error: Refused) -> list[Delivery]:
        """A call that is refused as a whole says nothing of its messages: each is tried alone."""
        if len(batch.messages) == 1:
            return [Delivery(Disposition.REFUSED, str(error)[:300], _reason(error))]
        deliveries = []
        for position in range(len(batch.messages)):
            alone = msgspec.structs.replace(batch, messages=batch.messages.at([position]))
            deliveries += await self.send(alone)
        return deliveries

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


def _of_entry(failure: BatchResultErrorEntryTypeDef) -> Delivery:
    """One message's failure, by its code: SenderFault alone calls a throttled KMS key the sender's fault."""
    error = of_code(failure["Code"], failure.get("Message", ""), 400 if failure["SenderFault"] else 500)
    if isinstance(error, Unavailable | Denied):  # others of the call may have been taken
        return _failed(error)
    return Delivery(Disposition.REFUSED, str(error)[:300], _short(failure["Code"]))


def _failed(error: PikError) -> Delivery:
    reasons = {Throttled: "Throttled", Denied: "AccessDenied"}
    return Delivery(Disposition.RETRYABLE, str(error)[:300], reasons.get(type(error), "Unavailable"))


def _short(name: str) -> str:
    """`InvalidAddress` for `AWS.SimpleQueueService.InvalidAddress`."""
    return name.rsplit(".", 1)[-1]


def _reason(error: PikError) -> str:
    cause = error.__cause__
    return _short(code(cause)) if isinstance(cause, ClientError) else "Refused"
