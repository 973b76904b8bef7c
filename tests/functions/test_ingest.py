"""The function `ingest`, run by the emulator from its package: the gateway's answers to the same requests."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pyarrow.parquet as pq
import pytest

from functions.requests import CASES, EVENT, Case
from gateway.asgi import call
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.index_items import SCHEMA
from pik.domain.intake import IntakeRules
from pik.execution.reindex import reindex
from pik.execution.stream import Deduplication
from pik.execution.stream_task import StreamTask
from pik.functions.health import CHECK
from pik.functions.ingest import TASK, IngestFunction, IngestTask, opened

pytestmark = pytest.mark.emulator

RULES = IntakeRules(max_batch_bytes=4_000, max_event_bytes=1_000)
VOLATILE = ("ingest_lag_ms", "s3_key", "winner")


class There:
    """A bucket and a table on the emulator, and the function over them."""

    def __init__(self, endpoint: str, package: Path, scratch: Path) -> None:
        self.access = AwsAccess(endpoint_url=endpoint, region="us-east-1")
        clients = AwsClients(self.access)
        self.endpoint = endpoint
        self.s3, self.dynamodb = clients.client("s3"), clients.client("dynamodb")
        self.functions: Any = clients.client("lambda")
        self.scratch = scratch
        self.package = package
        self.name = f"pik-ingest-{uuid4().hex[:12]}"
        self.made: list[str] = []
        self.s3.create_bucket(Bucket=self.name)

    def stream(self, name: str) -> IngestTask:
        """A stream of this name, with its index made."""
        table = f"{self.name}-{name}"
        self.dynamodb.create_table(TableName=table, BillingMode="PAY_PER_REQUEST", **SCHEMA)
        identity = sha256(name.encode()).hexdigest()[:32]
        task = IngestTask(
            StreamTask(
                namespace="default",
                name="s",
                stream_id=identity,
                bucket=self.name,
                prefix=name,
                table=table,
                deduplication=Deduplication.ON_WRITE,
                region="us-east-1",
            ),
            RULES,
        )

        async def there() -> None: ...

        asyncio.run(reindex(opened(task, self.access, self.scratch), there))
        return task

    def create(self, task: IngestTask) -> str:
        """The function's name."""
        name = f"{self.name}-{task.stream.prefix}"
        body = self.package.read_bytes()
        self.s3.put_object(Bucket=self.name, Key="ingest.zip", Body=body)
        made = self.functions.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role="arn:aws:iam::000000000000:role/ingest",
            Handler="handler.handle",
            Code={"S3Bucket": self.name, "S3Key": "ingest.zip"},
            Environment={"Variables": {TASK: msgspec.json.encode(task).decode()}},
            MemorySize=512,
            Timeout=60,
        )
        assert made["CodeSha256"] == b64encode(sha256(body).digest()).decode()
        self.functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        self.made.append(name)
        return name

    def invoke(self, name: str, event: dict[str, Any]) -> Any:
        answer = self.functions.invoke(FunctionName=name, Payload=json.dumps(event))
        told = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, told
        return told

    def url(self, name: str) -> str:
        made = self.functions.create_function_url_config(FunctionName=name, AuthType="NONE")
        identity = made["FunctionUrl"].removeprefix("https://").partition(".")[0]
        return f"{self.endpoint}/_aws/lambda-url/{identity}"

    def rows(self, task: IngestTask) -> list[dict[str, Any]]:
        """What lies in raw, by pyarrow alone."""
        found = []
        for page in self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=f"{task.stream.prefix}/raw/"
        ):
            for entry in page.get("Contents", []):
                body = self.s3.get_object(Bucket=self.name, Key=entry["Key"])["Body"].read()
                found += pq.read_table(BytesIO(body)).to_pylist()
        return found


@pytest.fixture(scope="module")
def there(emulator: str, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    made = There(emulator, package, tmp_path_factory.mktemp("ingest"))
    yield made
    for name in made.made:
        made.functions.delete_function(FunctionName=name)


def test_it_answers_as_the_gateway_does(there: There) -> None:
    by_function, by_gateway = there.stream("by-function"), there.stream("by-gateway")
    name = there.create(by_function)
    told = there.invoke(name, CHECK)
    assert told["generation"] == 1
    # the emulator's own environment has a file that sets this one up; all else comes from the package
    assert set(told["strangers"]) <= {"_distutils_hack"}
    url = there.url(name)
    gateway = IngestFunction(by_gateway, there.access, there.scratch).gateway
    with httpx.Client(timeout=60) as client:
        for case in CASES:
            answer = client.request(case.method, url + case.path, headers=case.headers, content=case.body)
            expected = asyncio.run(
                call(gateway, case.gateway_path, case.body, method=case.method, headers=_sent(case))
            )
            assert (answer.status_code, _stable(answer.json())) == (
                expected.status,
                _stable(expected.body),
            ), case
    stored, wanted = there.rows(by_function), there.rows(by_gateway)
    assert sorted(map(_content, stored)) == sorted(map(_content, wanted))
    assert len(stored) == sum(case.stored for case in CASES)


def test_it_answers_api_gateway_too(there: There) -> None:
    """By a route for every path, under a stage that is no part of the path."""
    task = there.stream("by-api")
    name = there.create(task)
    api: Any = AwsClients(there.access).client("apigatewayv2")
    arn = there.functions.get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    made = api.create_api(Name=name, ProtocolType="HTTP")["ApiId"]
    integration = api.create_integration(
        ApiId=made, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion="2.0"
    )["IntegrationId"]
    api.create_route(ApiId=made, RouteKey="$default", Target=f"integrations/{integration}")
    api.create_stage(ApiId=made, StageName="prod", AutoDeploy=True)
    first, again = CASES[:2]
    url = f"{there.endpoint}/_aws/execute-api/{made}/prod"
    with httpx.Client(timeout=60) as client:
        for case, status in ((first, "ACCEPTED"), (again, "DUPLICATE")):
            answer = client.post(url + case.path, headers=case.headers, content=case.body)
            assert answer.status_code == 200, answer.text
            assert [each["status"] for each in answer.json()["answers"]] == [status]


def test_messages_of_a_queue_are_taken_or_come_again(there: There) -> None:
    """Through the emulator's own mapping: what is never right ends in the dead-letter queue, alone."""
    task = there.stream("by-queue")
    name = there.create(task)
    there.invoke(name, CHECK)  # it takes longer to start than messages stay hidden here
    sqs: Any = AwsClients(there.access).client("sqs")
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "1"})
    settings = {"VisibilityTimeout": "20", "RedrivePolicy": redrive}
    queue = sqs.create_queue(QueueName=name, Attributes=settings)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    bodies = [json.dumps({**EVENT, "idempotency_key": f"q{n}"}) for n in range(6)]
    wrong = [json.dumps({**EVENT, "entity_id": ""}), "[1,"]
    lines = "\n".join(json.dumps({**EVENT, "idempotency_key": f"n{n}"}) for n in range(2))
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate([*bodies, bodies[0], *wrong])]
    typed = {"contentType": {"DataType": "String", "StringValue": "application/x-ndjson"}}
    sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    sqs.send_message(QueueUrl=queue, MessageBody=lines, MessageAttributes=typed)
    there.functions.create_event_source_mapping(
        EventSourceArn=arn, FunctionName=name, FunctionResponseTypes=["ReportBatchItemFailures"], BatchSize=10
    )
    buried: list[str] = []
    tries = 0
    while len(buried) < len(wrong) and tries < 9:
        tries += 1
        got = sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10, WaitTimeSeconds=10)
        buried += [message["Body"] for message in got.get("Messages", [])]
    assert sorted(buried) == sorted(wrong)
    outcomes = Counter(row["outcome"] for row in there.rows(task))
    assert outcomes == {"ACCEPTED": 8, "DUPLICATE": 1}


def _sent(case: Case) -> dict[str, str]:
    """With what an HTTP client adds."""
    return {**case.headers, "content-length": str(len(case.body))}


def _stable(body: Any) -> Any:
    if "answers" not in body:
        return body
    return [{n: v for n, v in answer.items() if n not in VOLATILE} for answer in body["answers"]]


def _content(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("event_id", "outcome", "data", "event_time_text", "fingerprint")
    return tuple(str(row[name]) for name in names)
