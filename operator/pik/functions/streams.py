"""A task's stream as a function opens it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pik.api.capture_stream import IndexWrites
from pik.aws.clients import AssumedRole, AwsAccess, AwsClients
from pik.aws.dynamo_index import DynamoIndex
from pik.aws.dynamo_table import DynamoTable
from pik.aws.s3_objects import Lock, S3ObjectStore
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.execution.opening import open_stream
from pik.execution.stream import Stream
from pik.execution.stream_task import StreamTask

THREADS = 8
"""Calls of AWS that one invocation makes at once."""

MEMORY = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"
"""Name of the environment variable in which AWS says how many MiB a function has."""


def access_of(environ: Mapping[str, str]) -> AwsAccess:
    """In the function's own region, with the rights of its role."""
    return AwsAccess(endpoint_url=environ.get("AWS_ENDPOINT_URL"), connections=THREADS, own_credentials=True)


def memory_of(environ: Mapping[str, str]) -> str | None:
    """As `relation.connect` takes it; None where nobody says."""
    size = environ.get(MEMORY)
    return None if size is None else f"{size}MiB"


def opened(
    task: StreamTask,
    access: AwsAccess,
    scratch: Path,
    *,
    writes: IndexWrites = IndexWrites.STATEMENTS,
    lock: Lock | None = None,
) -> Stream:
    """In the stream's region and with its role. `scratch`: a folder to write to; `lock`: of what is created
    in it."""
    role = None if task.role is None else AssumedRole(task.role.arn, task.role.external_id, task.role.session)
    access = msgspec.structs.replace(access, region=task.region or access.region, role=role or access.role)
    clients, io, work = AwsClients(access), ThreadOffload(THREADS, "aws"), ThreadOffload(1, "work")
    clock, entropy = SystemClock(), SystemEntropy()
    objects = S3ObjectStore(clients.quick_s3(clients.client("s3")), task.bucket, io, clock, lock)
    table = DynamoTable(clients.quick_dynamodb(clients.client("dynamodb")), task.table, io, clock, entropy)
    index = DynamoIndex(table, task.retention_days, transactions=writes is IndexWrites.TRANSACTIONS)
    return open_stream(task, objects, index, scratch, clock=clock, entropy=entropy, work=work)


def make_room(folder: Path) -> None:
    """Removes the copies of segments in a folder that nobody reads now, where they take more than half of
    what there is: an instance lives for hours and has one small disk."""
    kept = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    if kept and kept > shutil.disk_usage(folder).total // 2:
        shutil.rmtree(folder)
