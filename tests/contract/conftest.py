"""One stream's ports, in memory and on the emulator: the same tests for both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.values import Entries, Objects
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_index import DynamoIndex
from pik.aws.dynamo_table import DynamoTable
from pik.aws.index_items import SCHEMA
from pik.aws.s3_objects import S3ObjectStore
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.domain.instants import parse_instant
from pik.memory.index import MemoryIndex, MemoryTable
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.memory.system import ManualClock
from pik.ports.index import Index
from pik.ports.objects import ObjectStore

BOTH = ["memory", pytest.param("aws", marks=pytest.mark.emulator)]


@pytest.fixture
def io() -> Iterator[ThreadOffload]:
    pool = ThreadOffload(16, "aws")
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def clients(emulator: str) -> AwsClients:
    return AwsClients(AwsAccess(endpoint_url=emulator, connections=16))


@pytest.fixture(params=BOTH)
def objects(request: pytest.FixtureRequest, unique: str) -> Objects:
    if request.param == "memory":
        bucket = MemoryBucket()

        async def forget() -> None:
            bucket.exists = False

        clock = ManualClock(parse_instant("2013-07-10T04:00:00.5Z"))
        return Objects(MemoryObjectStore(bucket, clock), forget)
    clients = request.getfixturevalue("clients")
    s3 = clients.client("s3")
    io = request.getfixturevalue("io")
    s3.create_bucket(Bucket=unique)

    async def drop_bucket() -> None:
        s3.delete_bucket(Bucket=unique)

    return Objects(S3ObjectStore(clients.quick_s3(s3), unique, io, SystemClock()), drop_bucket)


@pytest.fixture
def store(objects: Objects) -> ObjectStore:
    return objects.store


@pytest.fixture(params=BOTH)
def entries(request: pytest.FixtureRequest, unique: str) -> Entries:
    if request.param == "memory":
        table = MemoryTable()

        async def forget() -> None:
            table.drop()

        return Entries(MemoryIndex(table), forget)
    clients = request.getfixturevalue("clients")
    dynamodb = clients.client("dynamodb")
    io = request.getfixturevalue("io")
    dynamodb.create_table(TableName=unique, BillingMode="PAY_PER_REQUEST", **SCHEMA)

    async def drop_table() -> None:
        dynamodb.delete_table(TableName=unique)

    quick = clients.quick_dynamodb(dynamodb)
    return Entries(DynamoIndex(DynamoTable(quick, unique, io, SystemClock(), SystemEntropy())), drop_table)


@pytest.fixture
def index(entries: Entries) -> Index:
    return entries.index
