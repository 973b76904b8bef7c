"""Batches of SQS queues and Kinesis streams into a stream, as event source mappings hand them over.

Each message is a body as the gateway takes it (an event, several, lines, or CloudEvents) or an envelope of
EventBridge, as the task says of its source. What is not taken comes again, until the mapping gives up and the
queue's or the mapping's dead letters have it:
- of a queue it is reported by its message's id, with ReportBatchItemFailures
  (docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html);
- where order counts (FIFO queues, Kinesis) nothing behind the first message that is wrong is taken, and all
  from the first failure on is reported, of Kinesis by its sequence number
  (docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html);
- where the mapping does not take reports, all that can be is taken and the batch fails as a whole: what was
  taken comes again as duplicates.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from pik.domain.arrivals import Arrival, Rejection
from pik.domain.decode import decode_request
from pik.domain.errors import BatchTooLarge, MalformedBatch, PikError
from pik.domain.event_bridge import event_bridge_event
from pik.domain.intake import Intake
from pik.domain.mapping import TextRule
from pik.domain.payloads import NotAnEvent
from pik.execution.capture.answers import Answer, Status
from pik.gateway.doors import Door

log = logging.getLogger(__name__)

QUEUE = "aws:sqs"
KINESIS = "aws:kinesis"


class Form(StrEnum):
    """What a message's body is."""

    EVENTS = "Events"  # as the gateway takes it
    EVENT_BRIDGE = "EventBridge"  # an envelope of EventBridge


class SourceTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the messages of one source are taken. `content_type`: of bodies in the form Events that do not say
    it themselves, by default JSON; `entity`: where in `detail` the entity is, in the form EventBridge;
    `reports`: whether the mapping takes reports of single messages, by default of a queue alone."""

    form: Form = Form.EVENTS
    content_type: str | None = None
    entity: TextRule | None = None
    reports: bool | None = None


class BatchFailed(PikError):
    """Of a batch that comes again as a whole, something was not taken."""


class _Message:
    """One message on its way. `identifier`: what the mapping knows it by; `why`: it was not taken."""

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.events: Sequence[Arrival | Rejection] = ()
        self.why: str | None = None


def is_of_queue(event: Mapping[str, Any]) -> bool:
    return _origin(event) == QUEUE


def is_batch(event: Mapping[str, Any]) -> bool:
    """Whether these are messages of a queue or of a Kinesis stream."""
    return _origin(event) in (QUEUE, KINESIS)


async def take(
    door: Door, event: Mapping[str, Any], sources: Mapping[str, SourceTask] | None = None
) -> dict[str, Any]:
    """Which messages come again: those of which an event was not taken, whatever became of others in them.
    All events of a batch go into one commit. `sources`: by ARN. Raises `BatchFailed` where the mapping takes
    no reports."""
    records: Sequence[Mapping[str, Any]] = event["Records"]
    is_stream = _origin(event) == KINESIS
    arn = str(records[0].get("eventSourceARN", ""))
    source = (sources or {}).get(arn, SourceTask())
    reports = not is_stream if source.reports is None else source.reports
    in_order = reports and (is_stream or arn.endswith(".fifo"))
    messages = []
    for record in records:
        message = await _read(door, record, source)
        messages.append(message)
        if in_order and message.why is not None:
            break
    await _commit(door, messages)
    failed = [message for message in messages if message.why is not None]
    for message in failed:
        log.warning("message %s is not taken: %s", message.identifier, message.why)
    if failed and not reports:
        raise BatchFailed(
            f"{len(failed)} of {len(records)} messages were not taken, the first of them"
            f" {failed[0].identifier}: {failed[0].why}"
        )
    again = [message.identifier for message in failed]
    if failed and in_order:
        at = messages.index(failed[0])
        again = [_identifier(record) for record in (records[at : at + 1] if is_stream else records[at:])]
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in again]}


async def _read(door: Door, record: Mapping[str, Any], source: SourceTask) -> _Message:
    message = _Message(_identifier(record))
    try:
        message.events = await door.claims.judge(_decoded(door, record, source))
    except PikError as error:
        message.why = str(error)
    for event in message.events:
        if isinstance(event, Rejection):
            message.why = f"{event.reason}: {event.message}"
            break
    return message


async def _commit(door: Door, messages: Sequence[_Message]) -> None:
    """Takes the events of these, and says of those of which one was not."""
    events = [event for message in messages for event in message.events if isinstance(event, Arrival)]
    answers: Sequence[Answer | None] = ()
    why = "not now"
    if events:
        try:
            answers = await door.capture.ingest(events)
        except PikError as error:
            answers, why = [None] * len(events), str(error)
    told = iter(answers)
    for message in messages:
        theirs = [next(told) for event in message.events if isinstance(event, Arrival)]
        if message.why is None and any(a is None or a.status is Status.REJECTED for a in theirs):
            message.why = why


def _decoded(door: Door, record: Mapping[str, Any], source: SourceTask) -> Sequence[Intake]:
    """Raises `MalformedBatch`, `BatchTooLarge` and `UnsupportedMediaType`."""
    body, said = _body(record)
    rules = door.rules
    if source.form is Form.EVENTS:
        return decode_request(body, rules, said or source.content_type, ())
    if len(body) > rules.max_batch_bytes:
        raise BatchTooLarge(f"the body has {len(body)} bytes; {rules.max_batch_bytes} are taken")
    try:
        return [event_bridge_event(body, rules, source.entity)]
    except NotAnEvent as error:
        return [error.rejection]


def _body(record: Mapping[str, Any]) -> tuple[bytes, str | None]:
    """And its content type, where it says. Raises `MalformedBatch`."""
    if record["eventSource"] == QUEUE:
        said = record.get("messageAttributes", {}).get("contentType", {}).get("stringValue")
        return record["body"].encode(), said
    try:
        return b64decode(record["kinesis"]["data"], validate=True), None
    except NotBase64 as error:
        raise MalformedBatch(f"the data of a record is not base64: {error}") from error


def _identifier(record: Mapping[str, Any]) -> str:
    if record["eventSource"] == QUEUE:
        return str(record["messageId"])
    return str(record["kinesis"]["sequenceNumber"])


def _origin(event: Mapping[str, Any]) -> str | None:
    """The one service that all of a batch comes from."""
    records: list[Mapping[str, Any]] = event.get("Records") or []
    services = {record.get("eventSource") for record in records}
    return services.pop() if len(services) == 1 else None
