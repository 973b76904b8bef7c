"""The late flights are sent again: planned, approved, killed midway, resumed, reconciled, and sent once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml
from story.oracle import Delay
from story.stage import EXAMPLE, Stage, StoryBroken, check


def replay_the_late(stage: Stage, truth: Delay) -> None:
    log = stage.home / "received.ndjson"
    log.touch()
    receiver = subprocess.Popen(
        [sys.executable, str(EXAMPLE / "receiver.py"), str(log)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert receiver.stdout is not None
        port = int(receiver.stdout.readline())
        with stage.chapter("The dashboard gets them again: plan, approve, run, be killed, resume"):
            _over_http(stage, truth, f"http://127.0.0.1:{port}/flights", log)
        with stage.chapter("And to the queue that feeds it, in order"):
            _to_the_queue(stage, truth)
    finally:
        receiver.terminate()
        receiver.wait()


def _over_http(stage: Stage, truth: Delay, url: str, log: Path) -> None:
    job = _job("late-to-http")
    job["spec"]["target"]["http"]["url"] = url
    _apply(stage, job)
    planned = stage.until("replayjob", "late-to-http", "Planned")
    check(planned["status"]["plan"]["matched"] == truth.late, "the plan has every late flight")
    stage.show("get", "replayjob", "late-to-http")
    check(not _lines(log), "a dry run sends nothing")
    stage.show("approve", "late-to-http", "--by", "on-call")
    job["spec"]["mode"] = "Run"
    _apply(stage, job)
    with stage.working("sending at 20 events a second; pik is killed midway"):
        _wait(lambda: len(_lines(log)) >= truth.late // 3)
        stage.kill()
    before = len(_lines(log))
    stage.say(f"SIGKILL after {before} of {truth.late}. Once more:")
    stage.up()
    with stage.working("the rest"):
        stage.until("replayjob", "late-to-http", "Complete", seconds=90)
    stage.show("ledger", "late-to-http", lines=30)
    received = _lines(log)
    _reconcile(stage, truth, received, before)
    stage.show("delete", "replayjob", "late-to-http")
    _apply(stage, job)
    stage.until("replayjob", "late-to-http", "Complete")
    check(len(_lines(log)) == len(received), "a run is done once")
    stage.proved("deleted and applied again: its record is found, and nothing is sent")


def _reconcile(stage: Stage, truth: Delay, received: list[dict[str, Any]], before: int) -> None:
    """sent = received = expected, in order, with repeats only where the ledger says so."""
    status = stage.resource("replayjob", "late-to-http")["status"]
    first: dict[str, dict[str, Any]] = {}
    for event in received:
        first.setdefault(event["key"], event)
    check(status["progress"]["sent"] == truth.late, "sent is what was planned")
    check({event["id"] for event in first.values()} == truth.late_keys, "received is what was expected")
    _in_order(list(first.values()))
    repeats = len(received) - len(first)
    doubtful = stage.ask("ledger", "late-to-http")["doubtful"]
    check(repeats <= sum(chunk["events"] for chunk in doubtful), "repeats lie in chunks that were in doubt")
    stage.proved(
        f"sent {truth.late} = received {len(first)} = expected {truth.late}, each aircraft in order; "
        f"{repeats} of the {before} that were out when it died came twice, told by their stable keys"
    )


def _to_the_queue(stage: Stage, truth: Delay) -> None:
    sqs = stage.client("sqs")
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "false"}
    queue = sqs.create_queue(QueueName="late-flights.fifo", Attributes=attributes)["QueueUrl"]
    job = _job("late-to-queue")
    job["spec"]["target"]["sqs"]["queueURL"] = queue
    job["spec"]["mode"] = "Run"
    _apply(stage, job)
    stage.until("replayjob", "late-to-queue", "Planned")
    stage.show("approve", "late-to-queue", "--by", "on-call")
    stage.until("replayjob", "late-to-queue", "Complete")
    events = []
    while True:
        got = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        if not got:
            break
        events += [json.loads(message["Body"]) for message in got]
        for message in got:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    check(len(events) == truth.late, "the queue has each event once")
    check({event["id"] for event in events} == truth.late_keys, "the queue has what was expected")
    _in_order([{"entity": event["subject"], "time": event["time"]} for event in events])
    stage.show("get", "replayjobs")
    stage.proved(f"{len(events)} messages in the queue, each aircraft in order")


def _in_order(events: list[dict[str, Any]]) -> None:
    times: dict[str, list[str]] = defaultdict(list)
    for event in events:
        times[event["entity"]].append(event["time"])
    check(all(at == sorted(at) for at in times.values()), "each aircraft's flights in order")


def _job(name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((EXAMPLE / "replays" / f"{name}.yaml").read_text())
    return manifest


def _apply(stage: Stage, job: dict[str, Any]) -> None:
    path = stage.home / f"{job['metadata']['name']}.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    stage.show("apply", "-f", str(path))


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def _wait(holds: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise StoryBroken("the replay does not get on")
        time.sleep(0.05)
