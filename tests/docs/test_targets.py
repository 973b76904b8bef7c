"""The manifest on the page of each target is applied, with names of the test's own, and sends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml

from docs.pages import DOCS, blocks
from jobs.receivers import Receiver
from pik.api.targets import TargetType
from pik.aws.clients import AwsAccess, AwsClients
from pik.controller.objects import ObjectKey
from pik.controller.world import Timing
from pik.local.state import State
from pik.local.up import LocalMode, Teller, UpSettings, local_mode
from replay.functions import Function

pytestmark = pytest.mark.emulator

SETTINGS = UpSettings(timing=Timing(resync=0.5, settle=0.0))
STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {{name: orders}}
spec:
  storage: {{prefix: some, bucket: {{name: "{bucket}"}}}}
"""
PAGES = sorted((DOCS / "targets").glob("*.md"))
PATIENCE = 60.0
EVENTS = 12


@dataclass
class Place:
    """Where a test's replay is sent to. `target`: the member of the manifest; `arrived`: CloudEvents that are
    there by now."""

    member: dict[str, Any]
    arrived: Callable[[], list[dict[str, Any]]]


def queue(clients: AwsClients, name: str, _: Path) -> Place:
    sqs = clients.client("sqs")
    fifo = {"FifoQueue": "true"}
    url = sqs.create_queue(QueueName=f"{name}.fifo", Attributes=fifo)["QueueUrl"]

    def arrived() -> list[dict[str, Any]]:
        found = []
        while got := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for each in got:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
                key = each["MessageAttributes"]["pikkey"]["StringValue"]
                found.append({**orjson.loads(each["Body"]), "pikkey": key})
        return found

    return Place({"queueURL": url}, arrived)


def endpoint(_: AwsClients, name: str, __: Path) -> Place:
    receiver = Receiver()
    receiver.start()

    def arrived() -> list[dict[str, Any]]:
        receiver.stop()
        return [{**orjson.loads(got.body), "pikkey": got.key} for got in receiver.received]

    return Place({"url": receiver.url}, arrived)


def bucket(clients: AwsClients, name: str, _: Path) -> Place:
    s3 = clients.client("s3")
    s3.create_bucket(Bucket=f"{name}-again")

    def arrived() -> list[dict[str, Any]]:
        found = []
        for each in s3.list_objects_v2(Bucket=f"{name}-again", Prefix="incidents/4711/run=")["Contents"]:
            body = s3.get_object(Bucket=f"{name}-again", Key=each["Key"])["Body"].read()
            found += [{**orjson.loads(line), "pikkey": each["Key"]} for line in body.splitlines()]
        return found

    return Place({"bucket": f"{name}-again"}, arrived)


def kinesis(clients: AwsClients, name: str, _: Path) -> Place:
    client: Any = clients.sender("kinesis")
    client.create_stream(StreamName=name, ShardCount=1)
    described = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    [shard] = client.list_shards(StreamName=name)["Shards"]

    def arrived() -> list[dict[str, Any]]:
        at = client.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        return [orjson.loads(each["Data"]) for each in client.get_records(ShardIterator=at)["Records"]]

    return Place({"streamARN": described["StreamARN"]}, arrived)


def function(clients: AwsClients, name: str, folder: Path) -> Place:
    made = Function(clients, name, folder / "taken")

    def arrived() -> list[dict[str, Any]]:
        keyed = [{**orjson.loads(each["body"]), "pikkey": each["messageId"]} for each in made.taken()]
        made.delete()
        return keyed

    return Place({"functionARN": made.arn}, arrived)


def event_bus(clients: AwsClients, name: str, _: Path) -> Place:
    """With a rule that brings what a replay put there to a queue."""
    events: Any = clients.sender("events")
    sqs = clients.client("sqs")
    arn = events.create_event_bus(Name=name)["EventBusArn"]
    url = sqs.create_queue(QueueName=f"{name}-rule")["QueueUrl"]
    target = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = blocks(DOCS / "targets" / "event-bridge.md", "json")[0].text
    events.put_rule(Name=name, EventBusName=name, EventPattern=pattern)
    events.put_targets(Rule=name, EventBusName=name, Targets=[{"Id": "1", "Arn": target}])

    def arrived() -> list[dict[str, Any]]:
        found = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            found += [orjson.loads(each["Body"]) for each in messages]
        assert {(each["source"], each["detail-type"]) for each in found} == {("pik.replay", "OrderPaid")}
        return [each["detail"] for each in found]

    return Place({"eventBusARN": arn}, arrived)


@pytest.mark.parametrize(
    ("page", "member", "made"),
    [
        ("http", "http", endpoint),
        ("sqs", "sqs", queue),
        ("s3", "s3", bucket),
        ("kinesis", "kinesis", kinesis),
        ("event-bridge", "eventBridge", event_bus),
        ("lambda", "lambda", function),
    ],
)
async def test_the_manifest_of_a_target_is_applied_and_sends(
    page: str,
    member: str,
    made: Callable[[AwsClients, str, Path], Place],
    emulator: str,
    unique: str,
    tmp_path: Path,
) -> None:
    clients = AwsClients(AwsAccess(endpoint_url=emulator))
    place = made(clients, unique, tmp_path)
    dead = clients.client("sqs").create_queue(QueueName=unique)["QueueUrl"]
    job = yaml.safe_load(blocks(DOCS / "targets" / f"{page}.md", "yaml")[0].text)
    job["spec"]["target"][member] |= place.member
    job["spec"]["onError"]["deadLetter"]["queueURL"] = dead
    job["spec"]["mode"] = "Run"
    (tmp_path / "stream.yaml").write_text(STREAM.format(bucket=unique))
    state = State(tmp_path)
    state.create()
    with state.locked():
        async with local_mode(state, AwsAccess(endpoint_url=emulator), SETTINGS, Teller()) as mode:
            await until(mode, "CaptureStream", "orders", "Ready")
            await post(mode)
            (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
            await until(mode, "ReplayJob", job["metadata"]["name"], "Complete")
    found = place.arrived()
    assert sorted(each["data"]["number"] for each in found) == list(range(EVENTS))
    assert all(each["pikrun"] and each["pikkey"] for each in found)


async def until(mode: LocalMode, kind: str, name: str, condition: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        resource = mode.objects.find(ObjectKey(kind, "default", name))
        conditions = () if resource is None else resource.status.conditions
        if any(one.type == condition and one.status == "True" for one in conditions):
            return
        assert time.monotonic() < deadline, (mode.faults, conditions)
        await asyncio.sleep(0.02)


async def post(mode: LocalMode) -> None:
    lines = [
        orjson.dumps(
            {
                "source": "web",
                "event_type": "OrderPaid",
                "entity_id": f"o-{number % 3}",
                "event_time": f"2013-07-10T0{number % 9}:00:00Z",
                "idempotency_key": f"k{number}",
                "payload": {"number": number},
            }
        )
        for number in range(EVENTS)
    ]
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(
            f"{mode.gateway}/v1/streams/default/orders/events",
            content=b"\n".join(lines),
            headers={"content-type": "application/x-ndjson"},
        )
    assert [one["status"] for one in answer.json()["answers"]] == ["ACCEPTED"] * EVENTS


def test_every_target_has_a_page_and_its_manifest_is_applied() -> None:
    [mark] = test_the_manifest_of_a_target_is_applied_and_sends.pytestmark  # type: ignore[attr-defined]
    applied = {page for page, *_ in mark.args[1]}
    assert applied == {page.stem for page in PAGES}
    types = {yaml.safe_load(blocks(page, "yaml")[0].text)["spec"]["target"]["type"] for page in PAGES}
    assert types == set(TargetType)
