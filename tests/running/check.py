"""What the world is in the end, held against the specs: by what AWS, the API server and the queues say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pik.cluster.api import Object
from pik.execution.replay.ledger import read_ledger
from running.scene import Scene
from running.specs import EVENTS, is_true


@dataclass(slots=True)
class Expected:
    """What the specs say at the end. `deleted`: streams that are gone, by deletionPolicy. `jobs`: their
    queues."""

    streams: dict[str, Object] = field(default_factory=dict)
    deleted: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    versions: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Outcome:
    """What was done, and what was found: `faults` is what is not as it must be."""

    kills: int = 0
    objects: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    repeats: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        done = (
            f"{self.kills} kills while {self.objects} objects were created, {self.changes['changed']} "
            f"changed and {self.changes['deleted']} deleted; {self.messages} messages, {self.repeats} "
            "of them repeats that a ledger names as in doubt"
        )
        return "\n".join([done, *(f"FAULT {fault}" for fault in self.faults)])


async def check(scene: Scene, expected: Expected, outcome: Outcome) -> None:
    """Adds to the outcome what it finds."""
    await _check_storage(scene, expected, outcome)
    for name, queue in expected.jobs.items():
        await _check_job(scene, name, queue, outcome)
    for name in expected.versions:
        count = (await scene.get("AggregateVersion", name)).get("status", {}).get("inputCount")
        if count != EVENTS:
            outcome.faults.append(f"{name} counts {count} events of {EVENTS}")


async def _check_storage(scene: Scene, expected: Expected, outcome: Outcome) -> None:
    """Every stream has its bucket and table as its spec wants them, and nothing else of ours is there."""
    s3, dynamodb = scene.clients.client("s3"), scene.clients.client("dynamodb")
    fault = outcome.faults.append
    there = {each["Name"] for each in s3.list_buckets()["Buckets"]}
    for page in dynamodb.get_paginator("list_tables").paginate():
        there |= set(page["TableNames"])
    for name, spec in expected.streams.items():
        stream = await scene.get("CaptureStream", name)
        if not is_true(stream, "Ready"):
            fault(f"{name} is not Ready: {stream.get('status')}")
            continue
        bucket, table = stream["status"]["storage"]["bucket"], stream["status"]["index"]["table"]
        if not {bucket, table} <= there:
            fault(f"{name} is Ready, and has no bucket or no table")
            continue
        wanted = spec["storage"].get("tags", {})
        tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}
        if not wanted.items() <= tags.items():
            fault(f"{name}: the bucket's tags are {tags}; the spec wants {wanted}")
        there -= {bucket, table}
    for name, policy in expected.deleted.items():
        left = {each for each in there if f"-{name}-" in each}
        if policy == "Delete" and any(scene.namespace in each for each in left):
            fault(f"{name} was deleted with its storage, and {left} are left")
        there -= left
    nobodys = [each for each in there if scene.namespace in each]
    if nobodys:
        fault(f"nobody's: {nobodys}")


async def _check_job(scene: Scene, name: str, queue: str, outcome: Outcome) -> None:
    """Every event once, by the queue's own messages; again only what the ledger says was in doubt."""
    fault = outcome.faults.append
    there = await scene.get("ReplayJob", name)
    if not is_true(there, "Complete"):
        fault(f"{name} is not Complete: {there.get('status')}")
        return
    run = there["status"]["run"]["id"]
    received = scene.received(queue)
    if {each for each, _ in received} != {run}:
        fault(f"{name} sent as runs { {each for each, _ in received} }, and not as {run} alone")
    counted = Counter(key for _, key in received)
    outcome.messages += len(received)
    outcome.repeats += len(received) - len(counted)
    if len(counted) != EVENTS:
        fault(f"{name} sent {len(counted)} of {EVENTS} events")
    doubted: set[str] = set()
    async for head, entries in read_ledger(await scene.stream(there["spec"]["streamRef"]["name"]), run):
        if head.in_doubt:
            doubted |= {entry.key for entry in entries}
    repeated = {key for key, times in counted.items() if times > 1}
    if not repeated <= doubted:
        fault(f"{name} sent {len(repeated - doubted)} events again that no chunk in doubt has")
