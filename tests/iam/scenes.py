"""A day in an account: every part of pik does all that it does there, on streams of every kind."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from zipfile import ZipFile

from iam import feeding
from iam.account import ACCOUNT, REGION, Account, arn_of
from iam.stage import KIT, Stage
from jobs.receivers import Receiver
from pik.api.kinds import AnyResource
from pik.api.manifests import load_text
from pik.api.validation import admit
from pik.aws.clients import AwsAccess
from pik.cluster.jobs.manifests import _stream
from pik.controller.aws_cloud import lock_of
from pik.controller.intake_rules import intake_rules
from pik.controller.objects import ObjectKey
from pik.controller.stream_index import REINDEX
from pik.functions.ingest import IngestFunction, IngestTask
from pik.planning.roles import RoleGrant, RoleMap

T = TypeVar("T")

CLUSTER = "here"
TENANT = "tenant"
WINDOW = '{from: "2026-02-01T00:00:00Z", to: "2026-03-01T00:00:00Z"}'

STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {{name: {name}}}
spec: {{{spec}}}
"""
JOB = """
apiVersion: pik.dev/v1alpha1
kind: ReplayJob
metadata: {{name: {name}}}
spec:
  streamRef: {{name: {stream}}}
  select: {{window: {window}{select}}}
  target: {target}
  onError: {{action: DeadLetter, deadLetter: {{queueURL: "{dead}"}}}}
  mode: Run
  verifyTarget: Enabled
"""
VERSION = """
apiVersion: pik.dev/v1alpha1
kind: AggregateVersion
metadata: {{name: {name}}}
spec:
  streamRef: {{name: {stream}}}
  window: {window}
  bucket: Window
  measures: [{{name: events, expression: count(*)}}]
"""


def stream(name: str, **spec: Any) -> str:
    return STREAM.format(name=name, spec=json.dumps(spec)[1:-1])


UNLOCKED = stream("locked", storage={"prefix": "locked"}, index={"deduplication": "OnRead"})
"""As it is at first: key and lock come later."""


@dataclass(frozen=True)
class Script:
    """What there is to be at work on: texts of manifests, by name. `key`: ARN of a KMS key."""

    streams: dict[str, str]
    jobs: dict[str, str]
    key: str

    @property
    def resources(self) -> list[AnyResource]:
        texts = [*self.streams.values(), *self.jobs.values()]
        return [admit(load_text(text)[0].value).resource for text in texts]


def script(account: Account, receiver: Receiver) -> Script:
    """With what it takes for granted: a key, queues, buckets that are adopted or sent to."""
    key = account.root("kms").create_key()["KeyMetadata"]["Arn"]
    sqs, s3 = account.root("sqs"), account.root("s3")
    queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("orders", "dead")}
    redrive = {"deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead", "maxReceiveCount": 5}
    attributes = {"VisibilityTimeout": "600", "RedrivePolicy": json.dumps(redrive)}
    sqs.create_queue(QueueName="inbox", Attributes=attributes)
    account.root("kinesis").create_stream(StreamName="orders", ShardCount=1)
    account.root("events").create_event_bus(Name="orders")
    _function(account, "orders")
    s3.create_bucket(Bucket="old")
    for name in ("a", "b"):
        s3.put_object(Bucket="old", Key=f"2025/{name}.ndjson", Body=feeding.LINE)
    data = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/orders"
    for bucket in ("archive", "copies"):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    streams = {
        "orders": stream("orders", storage={"prefix": "shop/orders"}),
        "locked": stream(
            "locked",
            storage={
                "prefix": "locked",
                "encryption": {"type": "KMS", "kmsKeyARN": key},
                "objectLock": {"mode": "Governance", "days": 1},
            },
            index={"deduplication": "OnRead"},
        ),
        "adopted": stream(
            "adopted", storage={"prefix": "pik", "bucket": {"name": "archive", "origin": "Adopt"}}
        ),
        "gone": stream("gone", storage={"prefix": "gone", "deletionPolicy": "Delete"}),
        "fed": feeding.stream(),
        "theirs": stream("theirs", storage={"prefix": "theirs"}, roleARN=arn_of(TENANT)),
    }
    targets = {
        "queue": f'{{type: SQS, sqs: {{queueURL: "{queues["orders"]}"}}}}',
        "queue-again": f'{{type: SQS, sqs: {{queueURL: "{queues["orders"]}"}}}}',
        "hook": f'{{type: HTTP, http: {{url: "{receiver.url}"}}}}',
        "stream": f'{{type: Kinesis, kinesis: {{streamARN: "{data}"}}}}',
        "bus": "{type: EventBridge, eventBridge: {eventBusName: orders}}",
        "function": "{type: Lambda, lambda: {functionName: orders}}",
        "copy": "{type: S3, s3: {bucket: copies, prefix: of/orders}}",
    }
    jobs = {
        name: JOB.format(
            name=name,
            stream="orders",
            window=WINDOW,
            select=", entities: [e1]" if name == "queue" else "",
            target=target,
            dead=queues["dead"],
        )
        for name, target in targets.items()
    }
    return Script(streams, jobs, key)


def _function(account: Account, name: str) -> None:
    """One that takes everything."""
    package = BytesIO()
    with ZipFile(package, "w") as code:
        code.writestr("handler.py", "def handle(event, context):\n    return {}\n")
    role = account.root("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    functions = account.root("lambda")
    functions.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role,
        Handler="handler.handle",
        Code={"ZipFile": package.getvalue()},
    )
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})


def sent(*numbers: int, amount: int = 1) -> bytes:
    """Events, as the kit has them."""
    return json.dumps(
        [
            {
                "source": "shop",
                "event_type": "paid",
                "entity_id": f"e{number % 3}",
                "event_time": f"2026-02-10T00:00:{number:02}Z",
                "payload": {"amount": amount},
                "idempotency_key": f"k{number}",
            }
            for number in numbers
        ]
    ).encode()


async def perform(
    account: Account, script: Script, receiver: Receiver, directory: Path, accesses: dict[str, AwsAccess]
) -> None:
    """All of it; each step says what it has to come to, so that a denial ends it."""
    grants = RoleMap((RoleGrant(arn_of(TENANT), ("default",), "external"),))
    stage = Stage(directory, CLUSTER, accesses, grants)
    try:
        for text in (UNLOCKED, *(text for name, text in script.streams.items() if name != "fed")):
            key = stage.apply(text)
            await stage.settle()
            assert stage.condition(key, "Ready") == ("True", "Provisioned"), stage.status(key)
        await _captured(account, stage)
        await _by_function(account, stage, accesses["ingest"])
        await _aggregated(account, stage)
        await _replayed(account, script, stage, receiver)
        await _changed_behind_its_back(account, stage)
        await feeding.perform(account, stage, accesses)
        await _deleted(account, stage)
    finally:
        await stage.close()
    await _taken_over(script, directory, accesses)


def _key(name: str) -> ObjectKey:
    return ObjectKey("CaptureStream", "default", name)


async def _captured(account: Account, stage: Stage) -> None:
    for name in ("locked", "adopted", "gone", "theirs"):
        assert len(await stage.send(_key(name), sent(1, 2, 3))) == 3
    orders = _key("orders")
    assert await stage.send(orders, sent(1, 2, 3)) == ["ACCEPTED"] * 3
    assert await stage.send(orders, sent(1)) == ["DUPLICATE"]
    assert await stage.send(orders, sent(2, amount=2)) == ["CONFLICT"]
    # S3 answers so late, by the writer's clock, that it is asked when the object was made
    assert await stage.send(orders, sent(4), behind=3_600) == ["ACCEPTED"]
    assert await stage.send(orders, marked(5, stage.status(orders).streamID)) == ["ACCEPTED"]
    statuses = await _rebuilt_meanwhile(account, stage, "gateway", stage.send(orders, sent(6)))
    assert statuses == ["ACCEPTED"]


def marked(number: int, stream_id: str) -> bytes:
    """With the marker of a run that there is none of."""
    events = json.loads(sent(number))
    events[0] |= {"pikrun": "0" * 64, "pikstream": stream_id}
    return json.dumps(events).encode()


async def _rebuilt_meanwhile(account: Account, stage: Stage, who: str, sending: Awaitable[T]) -> T:
    """The index of `orders` is rebuilt between the landing of a segment and its registration."""
    reached, go = threading.Event(), threading.Event()

    def hold(caller: str, headers: dict[str, str]) -> None:
        if caller == who and headers.get("x-amz-target", "").endswith("TransactWriteItems"):
            reached.set()
            assert go.wait(60)

    account.wire.before = hold
    under_way = asyncio.ensure_future(sending)
    assert await asyncio.to_thread(reached.wait, 60)
    stage.catch_up()
    stage.annotate(_key("orders"), **{REINDEX: datetime.now(UTC).isoformat().replace("+00:00", "Z")})
    await stage.settle()
    account.wire.before = lambda *_: None
    go.set()
    return await under_way


async def _by_function(account: Account, stage: Stage, access: AwsAccess) -> None:
    for name in ("orders", "locked"):
        spec, opened = stage.stream(_key(name)).spec, stage.opened(_key(name))
        task = IngestTask(_stream(opened, stage.settings), intake_rules(spec), lock=lock_of(spec.storage))
        function = await asyncio.to_thread(IngestFunction, task, access, stage.directory / "function")
        for body in (sent(10, 11), sent(10), sent(11, amount=2), marked(12, task.stream.stream_id)):
            await asyncio.to_thread(invoke, function, body)
        if name == "orders":
            invoking = asyncio.to_thread(invoke, function, sent(13))
            await _rebuilt_meanwhile(account, stage, "ingest", invoking)
        await asyncio.to_thread(function._runner.close)


def invoke(function: IngestFunction, body: bytes) -> None:
    """In a thread: a function has an event loop of its own."""
    event = {
        "version": "2.0",
        "rawPath": "/",
        "headers": {"content-type": KIT},
        "requestContext": {"http": {"method": "POST", "path": "/"}},
        "body": body.decode(),
        "isBase64Encoded": False,
    }
    answers = json.loads(function(event)["body"])["answers"]
    assert all(one["status"] != "REJECTED" for one in answers)


async def _aggregated(account: Account, stage: Stage) -> None:
    for name, more in (("before", ""), ("after", "  compareTo: {name: before}\n")):
        key = stage.apply(VERSION.format(name=name, stream="orders", window=WINDOW) + more)
        await stage.settle()
        await stage.work()
        await stage.work()
        assert stage.condition(key, "Complete") == ("True", "Succeeded"), stage.status(key)
        await stage.send(_key("orders"), sent(20))
    queried = await _queried(stage, "queried")
    await stage.cloud_of("aggregate").queries(None, "primary", "s3://results/").stop(queried)
    glue = account.root("glue")
    table = glue.get_tables(DatabaseName="pik")["TableList"][0]
    parameters = {**table["Parameters"], "projection.enabled": "false"}
    glue.update_table(DatabaseName="pik", TableInput={"Name": table["Name"], "Parameters": parameters})
    await _queried(stage, "again")


async def _queried(stage: Stage, name: str) -> str:
    """By Athena; one of its queries."""
    text = VERSION.format(name=name, stream="orders", window=WINDOW) + "  engine: Athena\n"
    key = stage.apply(text)
    await stage.settle()
    await stage.work()
    assert stage.condition(key, "Complete") == ("True", "Succeeded"), stage.status(key)
    return str(stage.status(key).athena.queryExecutionIDs[-1])


async def _replayed(account: Account, script: Script, stage: Stage, receiver: Receiver) -> None:
    receiver.answer = lambda got: 400 if got.subject == "e2" else 202
    for text in script.jobs.values():
        key = stage.apply(text)
        await stage.settle()
        await stage.work()
        reason = "SucceededWithFailures" if key.name == "hook" else "Succeeded"
        assert stage.condition(key, "Complete") == ("True", reason), stage.status(key)
        await stage.advance(5)
        if key.name == "copy":
            assert stage.condition(key, "Reconciled") == ("True", "TargetMatches"), stage.status(key)
    # what was replayed comes back, and is known
    sqs = account.root("sqs")
    url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
    body = sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"].encode()
    form = "application/cloudevents+json"
    assert await stage.send(_key("orders"), body, form=form) == ["REPLAYED"]


async def _changed_behind_its_back(account: Account, stage: Stage) -> None:
    """From here on the operator's clock is ahead."""
    s3, dynamodb = account.root("s3"), account.root("dynamodb")
    orders = stage.status(_key("orders"))
    bucket, table = orders.storage.bucket, orders.index.table
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "x"}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": []})
    arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}"
    dynamodb.untag_resource(ResourceArn=arn, TagKeys=["pik.dev/owner"])
    dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
    await stage.advance(700)
    assert stage.condition(_key("orders"), "Ready") == ("True", "Provisioned")
    assert {one.field for one in stage.status(_key("orders")).drift} >= {"encryption", "tags"}
    await stage.advance(4_000)  # orphans are looked for, what is new is sealed


def _asked_by_athena(account: Account, stage: Stage, bucket: str) -> None:
    """As if a version of the stream `gone` had been computed by Athena."""
    stream_id, prefix = stage.status(_key("gone")).streamID, stage.stream(_key("gone")).spec.storage.prefix
    record = f"{prefix}/aggregates/queries/some/0000-before-0000.json"
    account.root("s3").put_object(Bucket=bucket, Key=record, Body=b"{}")
    table = {"Name": f"stream_{stream_id}", "Parameters": {"pik.stream": stream_id}}
    account.root("glue").create_table(DatabaseName="pik", TableInput=table)


async def _deleted(account: Account, stage: Stage) -> None:
    bucket = stage.status(_key("gone")).storage.bucket
    account.root("s3").put_object(Bucket=bucket, Key="somebody/owner.json", Body=b"no owner's record")
    _asked_by_athena(account, stage, bucket)
    stage.delete(_key("gone"))
    await stage.settle()
    assert _key("gone") not in stage.objects.there


async def _taken_over(script: Script, directory: Path, accesses: dict[str, AwsAccess]) -> None:
    """Another cluster, and the same bucket."""
    stage = Stage(directory, "there", accesses)
    text = script.streams["adopted"]
    old = f"{{pik.dev/take-over-from: {CLUSTER}/default/adopted}}"
    taking = text.replace("{name: adopted}", f"{{name: adopted, annotations: {old}}}")
    try:
        key = stage.apply(taking)
        await stage.settle()
        assert stage.condition(key, "Ready") == ("True", "Provisioned"), stage.status(key)
    finally:
        await stage.close()
