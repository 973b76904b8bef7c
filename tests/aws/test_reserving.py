"""Many events at once are reserved by transactions, where a stream wants that, and as if by statements."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aws.calls import Calls
from contract.values import reservation, segment
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_index import DynamoIndex
from pik.aws.dynamo_table import DynamoTable
from pik.aws.index_items import SCHEMA
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload

pytestmark = pytest.mark.emulator
FIRST, SECOND = segment(1), segment(2)


@pytest.fixture
def io() -> Iterator[ThreadOffload]:
    pool = ThreadOffload(4, "aws")
    yield pool
    pool.close()


async def test_by_transactions_while_nothing_repeats(emulator: str, unique: str, io: ThreadOffload) -> None:
    calls = Calls()
    clients = AwsClients(AwsAccess(endpoint_url=emulator), calls)
    dynamodb = clients.client("dynamodb")
    dynamodb.create_table(TableName=unique, BillingMode="PAY_PER_REQUEST", **SCHEMA)
    quick = clients.quick_dynamodb(dynamodb)
    table = DynamoTable(quick, unique, io, SystemClock(), SystemEntropy())
    index = DynamoIndex(table, transactions=True)

    ours = [reservation(f"e{n}", FIRST, row=n) for n in range(250)]
    calls.made.clear()
    assert await index.reserve(ours) == [None] * 250
    assert calls.made == {"TransactWriteItems": 3}
    assert await index.reserve([reservation("alone", FIRST)]) == [None]
    assert calls.made["BatchExecuteStatement"] == 1, "not worth a transaction"

    theirs = [reservation(f"e{n}", SECOND, row=n) for n in range(240, 400)]
    calls.made.clear()
    assert await index.reserve(theirs) == [*ours[240:], *[None] * 150]
    assert calls.made == {"TransactWriteItems": 2, "BatchExecuteStatement": 4, "BatchGetItem": 1}

    calls.made.clear()
    assert await index.reserve(theirs) == [*ours[240:], *theirs[10:]]
    assert calls.made["TransactWriteItems"] == 0, "repeats come: a transaction would fail for one of them"
