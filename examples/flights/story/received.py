"""What a replay's targets received, held against what was to come."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from story.oracle import Delay
from story.stage import Stage
from story.terminal import check

Event = dict[str, Any]


def of_lines(text: str) -> list[Event]:
    """What receiver.py wrote down."""
    return [json.loads(line) for line in text.splitlines()]


class Held(NamedTuple):
    """What was received, held against the ledger."""

    distinct: int
    repeats: int
    checkpoint: int  # events of the plan before the first that may have come twice


def hold_against_the_ledger(stage: Stage, name: str, truth: Delay, received: list[Event]) -> Held:
    """sent = received = expected, each aircraft in order, and repeats only where the ledger says so."""
    status = stage.resource("replayjob", name)["status"]
    first: dict[str, Event] = {}
    for event in received:
        first.setdefault(event["key"], event)
    check(status["progress"]["sent"] == truth.late, "sent is what was planned")
    check({event["id"] for event in first.values()} == truth.late_keys, "received is what was expected")
    in_order(first.values())
    repeats = len(received) - len(first)
    doubtful = stage.ask("ledger", name)["doubtful"]
    check(repeats <= sum(chunk["events"] for chunk in doubtful), "repeats lie in chunks that were in doubt")
    checkpoint = min((chunk["start"] for chunk in doubtful), default=len(first))
    return Held(len(first), repeats, checkpoint)


def drain(sqs: Any, queue: str) -> list[Event]:
    """Every message of a queue, in the order in which they come; none is left."""
    events: list[Event] = []
    while got := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
        events += [json.loads(message["Body"]) for message in got]
        for message in got:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return events


def hold_queue_against(truth: Delay, events: list[Event]) -> None:
    """Each event once, each aircraft in order."""
    check(len(events) == truth.late, "the queue has each event once")
    check({event["id"] for event in events} == truth.late_keys, "the queue has what was expected")
    in_order({"entity": event["subject"], "time": event["time"]} for event in events)


def in_order(events: Iterable[Event]) -> None:
    times: dict[str, list[str]] = defaultdict(list)
    for event in events:
        times[event["entity"]].append(event["time"])
    check(all(at == sorted(at) for at in times.values()), "each aircraft's flights in order")
