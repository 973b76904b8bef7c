"""A pod that sends to each target of AWS, through a proxy that makes a third of its sends fail."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from faults.policy import USUAL, sometimes
from faults.proxy import FaultProxy, faulty
from jobs.conftest import ENTITIES, EVENTS
from jobs.workers import SETTINGS, Pods, replay_task
from pik.aws.clients import AwsAccess, AwsClients
from pik.cluster.jobs.verdicts import ExitCode
from pik.execution.replay.duckdb_selector import DuckDBSelector
from pik.execution.replay.ledger import reconcile_run
from pik.execution.stream import Stream
from pik.planning.replay.spec import replay_spec
from replay.functions import Function
from replay.slices import begin, job

pytestmark = pytest.mark.emulator


@pytest.fixture
def proxy(emulator: str) -> Iterator[FaultProxy]:
    with faulty(emulator, sometimes(11, 0.35, USUAL, only=["kinesis", "events", "lambda"])) as proxy:
        yield proxy


@pytest.fixture
def pods(proxy: FaultProxy, tmp_path: Path) -> Iterator[Pods]:
    made = Pods(proxy.endpoint, tmp_path, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def clients(emulator: str) -> AwsClients:
    return AwsClients(AwsAccess(endpoint_url=emulator))


def by_entity(bodies: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Times of each entity's events at their first arrival, by their keys."""
    found: dict[str, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for body in bodies:
        if body["pikkey"] not in seen:
            seen.add(body["pikkey"])
            found[body["subject"]].append(body["time"])
    return found


async def sent(stream: Stream, pods: Pods, bucket: str, target: dict[str, Any]) -> None:
    plan = await begin(stream, DuckDBSelector(stream, str), replay_spec(job(target=target), "tests"))
    settings = type(SETTINGS)(chunk_events=40, first_chunk=40, first_wait=0.01, longest_wait=0.02, attempts=8)
    pod = pods.start(replay_task(stream, bucket, plan, settings=settings), shard=0)
    assert pod.ended() == ExitCode.DONE, pod.output
    reconciliation = await reconcile_run(stream, plan)
    assert reconciliation.whole
    assert reconciliation.sent == EVENTS


async def test_a_pod_sends_to_a_data_stream(
    stream: Stream, pods: Pods, proxy: FaultProxy, clients: AwsClients, unique: str
) -> None:
    kinesis: Any = clients.sender("kinesis")
    kinesis.create_stream(StreamName=unique, ShardCount=1)
    await sent(stream, pods, unique, {"type": "Kinesis", "kinesis": {"streamName": unique}})
    assert proxy.failed > 0
    [shard] = kinesis.list_shards(StreamName=unique)["Shards"]
    at = kinesis.get_shard_iterator(
        StreamName=unique, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    records = kinesis.get_records(ShardIterator=at)["Records"]
    found = by_entity([orjson.loads(each["Data"]) for each in records])
    assert len(found) == ENTITIES
    assert sum(map(len, found.values())) == EVENTS
    assert all(times == sorted(times) for times in found.values())


async def test_a_pod_sends_to_a_function(
    stream: Stream, pods: Pods, proxy: FaultProxy, clients: AwsClients, unique: str, tmp_path: Path
) -> None:
    function = Function(clients, unique, tmp_path / "taken")
    target = {"functionARN": function.arn, "batchSize": 5}
    await sent(stream, pods, unique, {"type": "Lambda", "lambda": target})
    assert proxy.failed > 0
    records = function.taken()
    found = by_entity([{**orjson.loads(record["body"]), "pikkey": record["messageId"]} for record in records])
    assert sum(map(len, found.values())) == EVENTS
    assert all(times == sorted(times) for times in found.values())
    function.delete()


async def test_a_pod_sends_to_an_event_bus(
    stream: Stream, pods: Pods, proxy: FaultProxy, clients: AwsClients, unique: str
) -> None:
    events: Any = clients.sender("events")
    sqs = clients.client("sqs")
    bus = events.create_event_bus(Name=unique)["EventBusArn"]
    url = sqs.create_queue(QueueName=unique)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    pattern = '{"detail": {"pikreplay": ["tests/again"]}}'
    events.put_rule(Name=unique, EventBusName=unique, EventPattern=pattern)
    target = {"Id": "1", "Arn": attributes["QueueArn"]}
    events.put_targets(Rule=unique, EventBusName=unique, Targets=[target])
    await sent(stream, pods, unique, {"type": "EventBridge", "eventBridge": {"eventBusARN": bus}})
    assert proxy.failed > 0
    bodies = []
    while got := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for each in got:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
            bodies.append(orjson.loads(each["Body"])["detail"])
    assert sum(map(len, by_entity(bodies).values())) == EVENTS
