"""The late flights are sent again: planned, approved, killed midway, resumed, reconciled, and sent once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from story import received
from story.folder import Folder
from story.oracle import Delay
from story.stage import EXAMPLE
from story.terminal import StoryBroken, check


def replay_the_late(stage: Folder, truth: Delay) -> None:
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


def _over_http(stage: Folder, truth: Delay, url: str, log: Path) -> None:
    job = _job("late-to-http")
    job["spec"]["target"]["http"]["url"] = url
    _apply(stage, job)
    planned = stage.until("replayjob", "late-to-http", "Planned")
    check(planned["status"]["plan"]["matched"] == truth.late, "the plan has every late flight")
    stage.look("replayjob", "late-to-http")
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
    all_of_them = _lines(log)
    held = received.hold_against_the_ledger(stage, "late-to-http", truth, all_of_them)
    stage.proved(
        f"sent {truth.late} = received {held.distinct} = expected {truth.late}, each aircraft in order; "
        f"{held.repeats} of the {before} that were out when it died came twice, told by their stable keys"
    )
    stage.delete("replayjob", "late-to-http")
    _apply(stage, job)
    stage.until("replayjob", "late-to-http", "Complete")
    check(len(_lines(log)) == len(all_of_them), "a run is done once")
    stage.proved("deleted and applied again: its record is found, and nothing is sent")


def _to_the_queue(stage: Folder, truth: Delay) -> None:
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
    events = received.drain(sqs, queue)
    received.hold_queue_against(truth, events)
    stage.look("replayjobs")
    stage.proved(f"{len(events)} messages in the queue, each aircraft in order")


def _job(name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((EXAMPLE / "replays" / f"{name}.yaml").read_text())
    return manifest


def _apply(stage: Folder, job: dict[str, Any]) -> None:
    path = stage.home / f"{job['metadata']['name']}.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    stage.apply(path)


def _lines(log: Path) -> list[dict[str, Any]]:
    return received.of_lines(log.read_text())


def _wait(holds: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise StoryBroken("the replay does not get on")
        time.sleep(0.05)
