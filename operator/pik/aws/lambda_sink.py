"""A Lambda function as a target: called with batches in the form in which an SQS queue would hand them over,
so that a function written for a queue takes a replay as it is.

Quotas (Lambda developer guide): 6 MB of request for a call that waits, and 1 MB for one that does not, which
was 256 KiB until 2025: such calls are filled up to that. A call's payload has the events as JSON strings,
twice as long as the events at most; a larger event goes alone, and Lambda says whether it takes it.

A function that fails says nothing of the single events, nor does a call that is refused: each half of them is
to be tried by itself, down to the event that cannot be taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from msgspec import structs

from pik.aws.clients import LONGEST_INVOKE
from pik.aws.deliveries import failed, missing, refused
from pik.aws.errors import call, is_code
from pik.domain.errors import NoSuchTable, Refused, Unavailable
from pik.planning.replay.batches import TargetOrder
from pik.ports.sinks import Batch, Delivery, Disposition, SinkTraits
from pik.ports.system import Offload

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

    from pik.planning.replay.messages import Message

_WAITING_BYTES = 6 * 1_000_000
_EVENT_BYTES = 262_144
_RECORD_BYTES = 1_200  # what a record has beside the event, at most
_PATIENCE = (  # it is being created or updated, or what it needs at its start is not there yet
    "ResourceConflictException",
    "CodeArtifactUserPendingException",
    "SnapStartNotReadyException",
    "SnapStartTimeoutException",
    "EFSIOException",
    "EFSMountConnectivityException",
    "EFSMountTimeoutException",
    "S3FilesMountConnectivityException",
    "S3FilesMountTimeoutException",
)


class Answered(msgspec.Struct, frozen=True):
    """What came of a call. `error`: the kind of it, where the function failed."""

    request_id: str
    error: str | None
    payload: bytes
    tries: int


class LambdaSink:
    """`ports.Sink`. `client` should not retry by itself. `function`: an ARN or a name, with a qualifier or
    without. `waits`: for the function; else Lambda keeps the batch, and is answerable for it."""

    def __init__(
        self,
        client: LambdaClient,
        io: Offload,
        function: str,
        *,
        waits: bool,
        batch_events: int,
        in_flight: int = 4,
    ) -> None:
        self._client = client
        self._io = io
        self._function = function
        self._waits = waits
        size = (_WAITING_BYTES if waits else _EVENT_BYTES) - batch_events * _RECORD_BYTES
        self._traits = SinkTraits(
            batch_events=batch_events,
            batch_bytes=size // 2,
            in_flight=in_flight,
            order=TargetOrder.MESSAGE if waits else TargetOrder.NONE,
            remembers_seconds=None,
            longest_call=LONGEST_INVOKE if waits else 0.0,
        )

    @property
    def traits(self) -> SinkTraits:
        return self._traits

    async def send(self, batch: Batch) -> list[Delivery]:
        count = len(batch.messages)
        try:
            answered = await call(self._io, self._invoke, batch)
        except Unavailable as error:
            return [failed(error)] * count
        except NoSuchTable as error:
            if not is_code(error, "ResourceNotFoundException"):
                raise
            return [missing(f"function {self._function}", "FunctionNotFound")] * count
        except Refused as error:
            if is_code(error, *_PATIENCE):
                return [Delivery(Disposition.RETRYABLE, str(error)[:300], "FunctionNotReady")] * count
            told = refused(error)
            return [told if count == 1 else structs.replace(told, disposition=Disposition.APART)] * count
        return judged(batch, answered) if self._waits else [_taken(answered)] * count

    async def close(self) -> None: ...

    def _invoke(self, batch: Batch) -> Answered:
        """On a thread, where the answer's payload is read too."""
        answer = self._client.invoke(
            FunctionName=self._function,
            InvocationType="RequestResponse" if self._waits else "Event",
            Payload=payload(batch),
        )
        told = answer["Payload"].read()
        metadata = answer["ResponseMetadata"]
        return Answered(
            request_id=metadata.get("RequestId", ""),
            error=_kind(told) if answer.get("FunctionError") else None,
            payload=told,
            tries=1 + metadata.get("RetryAttempts", 0),
        )


def payload(batch: Batch) -> bytes:
    """The event that the function is called with."""
    return orjson.dumps({"Records": [_record(batch, message) for message in batch.messages]})


def judged(batch: Batch, answered: Answered) -> list[Delivery]:
    """By what the function returned: `batchItemFailures` names the events that it did not take, by their
    `messageId`; whatever has none means that all are taken. As with a queue, a name that was not in the batch
    means that none is known to be."""
    if answered.error is not None:
        told = _unhandled("FunctionError", answered.error, answered)
        count = len(batch.messages)
        return [told if count == 1 else structs.replace(told, disposition=Disposition.APART)] * count
    named = _failures(answered.payload)
    keys = [message.key for message in batch.messages]
    if named is None or not named <= {*keys}:
        why = "batchItemFailures is not of this batch"
        return [_unhandled("InvalidResponse", why, answered)] * len(keys)
    taken, left = _taken(answered), _unhandled("ItemFailure", "named in batchItemFailures", answered)
    return [left if key in named else taken for key in keys]


def _failures(told: bytes) -> set[str] | None:
    """None: what is said of them cannot be read."""
    try:
        answer = orjson.loads(told) if told else None
    except orjson.JSONDecodeError:
        return set()
    listed = answer.get("batchItemFailures") if isinstance(answer, dict) else None
    if not listed:
        return set()
    if not isinstance(listed, list):
        return None
    names = [item.get("itemIdentifier") if isinstance(item, dict) else None for item in listed]
    texts = [name for name in names if isinstance(name, str)]
    return {*texts} if len(texts) == len(names) else None


def _kind(told: bytes) -> str:
    """The type of an error; its message may have an event's data in it."""
    try:
        answer = orjson.loads(told)
    except orjson.JSONDecodeError:
        return "Unhandled"
    return str(answer.get("errorType", "Unhandled"))[:100] if isinstance(answer, dict) else "Unhandled"


def _taken(answered: Answered) -> Delivery:
    return Delivery(Disposition.DELIVERED, f"request {answered.request_id}", tries=answered.tries)


def _unhandled(reason: str, why: str, answered: Answered) -> Delivery:
    return Delivery(Disposition.FAILED, f"{why}, request {answered.request_id}", reason, tries=answered.tries)


def _record(batch: Batch, message: Message) -> dict[str, Any]:
    attributes = {
        "contentType": "application/cloudevents+json",
        "pikrun": batch.run_id,
        "pikreplay": batch.replay,
        "pikkey": message.key,
    }
    return {
        "messageId": message.key,
        "body": message.body.decode(),
        "attributes": {},
        "messageAttributes": {
            name: {"dataType": "String", "stringValue": value} for name, value in attributes.items()
        },
        "eventSource": "pik:replay",
    }
