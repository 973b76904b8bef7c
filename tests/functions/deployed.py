"""Functions that are deployed at an emulator, from their packages, over buckets and tables made for them."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq

from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.index_items import SCHEMA
from pik.execution.reindex import reindex
from pik.execution.stream import Deduplication, Stream
from pik.execution.stream_task import StreamTask
from pik.functions.streams import opened
from pik.local import emulator as embedded

Packages = Callable[[str], Path]
"""The package of a function, as the emulator can run it."""

_ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
MACHINES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
"""Architectures as AWS calls them."""

# the emulator's own environment has a file that sets this one up; all else comes from the package
STRANGERS = frozenset({"_distutils_hack"})


def uv() -> Path:
    """The program that installs distributions."""
    return Path(shutil.which("uv") or embedded.cache_directory(os.environ) / "uv" / "bin" / "uv")


def build(function: str, out: Path) -> Path:
    """The package of a function: for the emulator's own Python, on this machine."""
    python = embedded.install(embedded.cache_directory(os.environ))
    asked = [python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
    version = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    architecture = MACHINES[platform.machine()]
    command = [sys.executable, _ROOT / "lambdas" / "package.py", "--uv", uv(), "--out", out, "--level", "1"]
    command += ["--python", version, "--architecture", architecture, "--function", function]
    subprocess.run(command, check=True)
    return out / f"{function}-{architecture}.zip"


class Place:
    """A bucket with streams in it, and functions."""

    def __init__(self, endpoint: str, scratch: Path) -> None:
        self.endpoint = endpoint
        self.scratch = scratch
        self.access = AwsAccess(endpoint_url=endpoint, region=REGION)
        self.clients = AwsClients(self.access)
        self.s3, self.dynamodb = self.clients.client("s3"), self.clients.client("dynamodb")
        self.sqs: Any = self.clients.client("sqs")
        self.functions: Any = self.clients.client("lambda")
        self.kinesis: Any = self.clients.client("kinesis")
        self.name = f"pik-functions-{uuid4().hex[:12]}"
        self.made: list[str] = []
        self.digests: dict[Path, str] = {}  # of the packages that are uploaded
        self.s3.create_bucket(Bucket=self.name)

    def stream(self, name: str, deduplication: Deduplication = Deduplication.ON_WRITE) -> StreamTask:
        """A stream under this prefix, with its index made."""
        task = StreamTask(
            namespace="default",
            name="s",
            stream_id=sha256(name.encode()).hexdigest()[:32],
            bucket=self.name,
            prefix=name,
            table=f"{self.name}-{name}",
            deduplication=deduplication,
            region=REGION,
        )
        self.index(task)
        return task

    def index(self, task: StreamTask) -> None:
        async def there() -> None: ...

        self.dynamodb.create_table(TableName=task.table, BillingMode="PAY_PER_REQUEST", **SCHEMA)
        asyncio.run(reindex(self.opened(task), there))

    def opened(self, task: StreamTask) -> Stream:
        return opened(task, self.access, self.scratch / task.prefix)

    def create(
        self,
        package: Path,
        environment: Mapping[str, str],
        name: str,
        *,
        timeout: int = 60,
        memory: int = 512,
        handler: str = "handler.handle",
    ) -> str:
        """The function's name. `timeout`: seconds; `memory`: MiB."""
        name = f"{self.name}-{name}"
        if package not in self.digests:
            body = package.read_bytes()
            self.s3.put_object(Bucket=self.name, Key=package.name, Body=body)
            self.digests[package] = b64encode(sha256(body).digest()).decode()
        made = self.functions.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role="arn:aws:iam::000000000000:role/pik",
            Handler=handler,
            Code={"S3Bucket": self.name, "S3Key": package.name},
            Environment={"Variables": dict(environment)},
            MemorySize=memory,
            Timeout=timeout,
        )
        assert made["CodeSha256"] == self.digests[package]
        self.functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        self.made.append(name)
        return name

    def delete(self, name: str) -> None:
        self.functions.delete_function(FunctionName=name)
        self.made.remove(name)

    def invoke(self, name: str, event: Mapping[str, Any]) -> Any:
        told, error = self.tried(name, event)
        assert error is None, told
        return told

    def tried(self, name: str, event: Mapping[str, Any]) -> tuple[Any, str | None]:
        """What it answered, and how it failed."""
        answer = self.functions.invoke(FunctionName=name, Payload=json.dumps(event))
        return json.loads(answer["Payload"].read()), answer.get("FunctionError")

    def url(self, name: str) -> str:
        made = self.functions.create_function_url_config(FunctionName=name, AuthType="NONE")
        identity = made["FunctionUrl"].removeprefix("https://").partition(".")[0]
        return f"{self.endpoint}/_aws/lambda-url/{identity}"

    def queue(self, name: str, **attributes: str) -> tuple[str, str]:
        """Its URL and its ARN."""
        url = self.sqs.create_queue(QueueName=f"{self.name}-{name}", Attributes=attributes)["QueueUrl"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, found["Attributes"]["QueueArn"]

    def shard(self, name: str) -> str:
        """The ARN of a Kinesis stream of one shard."""
        self.kinesis.create_stream(StreamName=name, ShardCount=1)
        self.kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        arn: str = self.kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"][
            "StreamARN"
        ]
        return arn

    def processed(self, mapping: str, result: str) -> None:
        """Waits until this is what a mapping says of its last batch."""
        self.until(
            lambda: self.functions.get_event_source_mapping(UUID=mapping)["LastProcessingResult"] == result
        )

    @staticmethod
    def until(look: Callable[[], bool], seconds: float = 90) -> None:
        end = monotonic() + seconds
        while not look():
            assert monotonic() < end

    def received(self, url: str, count: int, tries: int = 9) -> list[str]:
        """The bodies of so many messages, and of all others that come with them; fewer after so many tries
        that found none."""
        found: list[str] = []
        while len(found) < count and tries:
            got = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
            messages = got.get("Messages", [])
            tries -= not messages
            for message in messages:
                found.append(message["Body"])
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def waiting(self, url: str) -> int:
        """Messages that the queue has, seen or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def keys(self, prefix: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def body(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()

    def rows(self, task: StreamTask) -> list[dict[str, Any]]:
        """What lies in raw, by pyarrow alone."""
        keys = self.keys(f"{task.prefix}/raw/")
        return [row for key in keys for row in pq.read_table(BytesIO(self.body(key))).to_pylist()]


@contextmanager
def place_at(endpoint: str, scratch: Path) -> Iterator[Place]:
    place = Place(endpoint, scratch)
    try:
        yield place
    finally:
        for name in list(place.made):
            place.delete(name)
