"""What the world is in the end, held against the specs: by what AWS, the API server and the queues say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pik.aws.clients import AwsClients
from pik.cluster.api import Object
from pik.execution.replay.ledger import read_ledger
from pik.execution.stream import Stream
from restarts.specs import EVENTS, is_true


@dataclass(slots=True)
class Expected:
    """What the specs say at the end. `deleted`: streams that are gone, with what became of their storage."""

    streams: dict[str, Object] = field(default_factory=dict)
    deleted: dict[str, tuple[str, str, str]] = field(default_factory=dict)  # policy, bucket, table
    jobs: dict[str, str] = field(default_factory=dict)  # name → queue
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
            f"changed and {self.changes['deleted']} deleted; {self.messages} messages, {self.repeats} of them "
            "repeats that a ledger names as in doubt"
        )
        return "\n".join([done, *(f"FAULT {fault}" for fault in self.faults)])


class Check:
    """`get`: an object by kind and name. `stream_of`: an opened stream by name."""

    def __init__(
        self,
        namespace: str,
        clients: AwsClients,
        expected: Expected,
        outcome: Outcome,
        get: Callable[[str, str], Awaitable[Object]],
        stream_of: Callable[[str], Awaitable[Stream]],
    ) -> None:
        self._namespace = namespace
        self._s3 = clients.client("s3")
        self._dynamodb = clients.client("dynamodb")
        self._sqs = clients.client("sqs")
        self._expected = expected
        self._outcome = outcome
        self._get = get
        self._stream_of = stream_of

    async def run(self) -> None:
        fault = self._outcome.faults.append
        buckets = {each["Name"] for each in self._s3.list_buckets()["Buckets"]}
        tables = {
            name
            for page in self._dynamodb.get_paginator("list_tables").paginate()
            for name in page["TableNames"]
        }
        for name, spec in self._expected.streams.items():
            there = await self._get("CaptureStream", name)
            if not is_true(there, "Ready"):
                fault(f"{name} is not Ready: {there['status'].get('conditions')}")
                continue
            bucket, table = there["status"]["storage"]["bucket"], there["status"]["index"]["table"]
            if bucket not in buckets or table not in tables:
                fault(f"{name} is Ready, and has no bucket or no table")
                continue
            wanted = spec["storage"].get("tags", {})
            tags = {tag["Key"]: tag["Value"] for tag in self._s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}
            if not wanted.items() <= tags.items():
                fault(f"{name}: the bucket's tags are {tags}; the spec wants {wanted}")
            buckets.discard(bucket)
            tables.discard(table)
        for name, (policy, bucket, table) in self._expected.deleted.items():
            if policy == "Retain":
                buckets.discard(bucket)
                tables.discard(table)
            # one whose place was not in its status yet is found by its name
            left = [each for each in buckets if f"-{name}-" in each] + [
                each for each in tables if f"-{name}-" in each
            ]
            if policy == "Delete" and left:
                fault(f"{name} was deleted with its storage, and {left} are left")
            if policy == "Retain":
                buckets -= set(left)
                tables -= set(left)
        ours = [each for each in (*buckets, *tables) if self._namespace in each]
        if ours:
            fault(f"nobody's: {ours}")
        for name, queue in self._expected.jobs.items():
            await self._check_job(name, queue)
        for name in self._expected.versions:
            there = await self._get("AggregateVersion", name)
            if there["status"].get("inputCount") != EVENTS:
                fault(f"{name} counts {there['status'].get('inputCount')} events of {EVENTS}")

    async def _check_job(self, name: str, queue: str) -> None:
        """Every event once, by the queue's own messages; twice only what the ledger says was in doubt."""
        fault = self._outcome.faults.append
        there = await self._get("ReplayJob", name)
        status = there["status"]
        if not is_true(there, "Complete"):
            fault(f"{name} is not Complete: {status.get('conditions')}")
            return
        received = self._received(queue)
        runs = {run for run, _ in received}
        if runs != {status["run"]["id"]}:
            fault(f"{name} sent as runs {runs}, and not as {status['run']['id']} alone")
        counted = Counter(key for _, key in received)
        self._outcome.messages += len(received)
        if len(counted) != EVENTS:
            fault(f"{name} sent {len(counted)} of {EVENTS} events")
        repeated = {key for key, times in counted.items() if times > 1}
        self._outcome.repeats += len(received) - len(counted)
        stream = await self._stream_of(there["spec"]["streamRef"]["name"])
        doubted: set[str] = set()
        async for head, entries in read_ledger(stream, status["run"]["id"]):
            if head.in_doubt:
                doubted |= {entry.key for entry in entries}
        if not repeated <= doubted:
            fault(f"{name} sent {len(repeated - doubted)} events again that no chunk in doubt has")

    def _received(self, queue: str) -> list[tuple[str, str]]:
        """Run and stable key of each message that the queue has, as often as it has it."""
        found: list[tuple[str, str]] = []
        while messages := self._sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            told = [each["MessageAttributes"] for each in messages]
            found += [(each["pikrun"]["StringValue"], each["pikkey"]["StringValue"]) for each in told]
            entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
            self._sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
        return found
