"""The function `ingest`, run by the emulator from its package: the gateway's answers to the same requests."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
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

from functions.requests import CASES, Case
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

    def create(self, task: IngestTask) -> None:
        body = self.package.read_bytes()
        self.s3.put_object(Bucket=self.name, Key="ingest.zip", Body=body)
        made = self.functions.create_function(
            FunctionName=self.name,
            Runtime="python3.13",
            Role="arn:aws:iam::000000000000:role/ingest",
            Handler="handler.handle",
            Code={"S3Bucket": self.name, "S3Key": "ingest.zip"},
            Environment={"Variables": {TASK: msgspec.json.encode(task).decode()}},
            MemorySize=512,
            Timeout=60,
        )
        assert made["CodeSha256"] == b64encode(sha256(body).digest()).decode()
        self.functions.get_waiter("function_active_v2").wait(
            FunctionName=self.name, WaiterConfig={"Delay": 1}
        )

    def invoke(self, event: dict[str, Any]) -> Any:
        answer = self.functions.invoke(FunctionName=self.name, Payload=json.dumps(event))
        told = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, told
        return told

    def url(self) -> str:
        made = self.functions.create_function_url_config(FunctionName=self.name, AuthType="NONE")
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
    made.functions.delete_function(FunctionName=made.name)


def test_it_answers_as_the_gateway_does(there: There) -> None:
    by_function, by_gateway = there.stream("by-function"), there.stream("by-gateway")
    there.create(by_function)
    told = there.invoke(CHECK)
    assert told["generation"] == 1
    # the emulator's own environment has a file that sets this one up; all else comes from the package
    assert set(told["strangers"]) <= {"_distutils_hack"}
    url = there.url()
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
