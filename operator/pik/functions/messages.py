"""Batches of an SQS queue into a stream, as an event source mapping hands them over.

Each message is a body as the gateway takes it: an event, several, lines, or CloudEvents; its attribute
`contentType` says which, where it is not JSON. What is not taken is reported by its message's id, and comes
again until the queue gives it to its dead-letter queue (ReportBatchItemFailures,
docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pik.domain.arrivals import Arrival, Rejection
from pik.domain.decode import decode_request
from pik.domain.errors import PikError
from pik.execution.capture.answers import Answer, Status
from pik.gateway.doors import Door

log = logging.getLogger(__name__)

SOURCE = "aws:sqs"


def is_of_queue(event: Mapping[str, Any]) -> bool:
    records: list[Mapping[str, Any]] = event.get("Records") or []
    return bool(records) and all(record.get("eventSource") == SOURCE for record in records)


async def take(door: Door, event: Mapping[str, Any]) -> dict[str, Any]:
    """Which messages come again: those of which an event was not taken, whatever became of others in them;
    these are then told to be repeats. All events of a batch go into one commit."""
    failed: list[str] = []
    sent: list[tuple[str, int]] = []  # a message, and how many events it has
    events: list[Arrival | Rejection] = []
    for record in event["Records"]:
        try:
            found = await door.claims.judge(_decoded(door, record))
        except PikError as error:
            _say(record["messageId"], str(error))
            failed.append(record["messageId"])
        else:
            sent.append((record["messageId"], len(found)))
            events += found
    answers: Sequence[Answer | None]
    try:
        answers = await door.capture.ingest(events) if events else []
    except PikError as error:
        log.warning("nothing of this batch was taken: %s", error)
        answers = [None] * len(events)
    at = 0
    for message, count in sent:
        theirs = answers[at : at + count]
        at += count
        if any(answer is None or answer.status is Status.REJECTED for answer in theirs):
            rejected = next((each for each in theirs if each is not None and each.reason), None)
            _say(message, "not now" if rejected is None else f"{rejected.reason}: {rejected.message}")
            failed.append(message)
    return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}


def _decoded(door: Door, record: Mapping[str, Any]) -> Sequence[Any]:
    """Raises `MalformedBatch`, `BatchTooLarge` and `UnsupportedMediaType`."""
    said = record.get("messageAttributes", {}).get("contentType", {}).get("stringValue")
    return decode_request(record["body"].encode(), door.rules, said, ())


def _say(message: str, why: str) -> None:
    log.warning("message %s is not taken: %s", message, why)
