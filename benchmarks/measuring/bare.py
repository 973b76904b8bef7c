"""What anybody would write first, and the fastest bare loop: what ingest is measured by."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from measuring.http_load import event
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.dynamo_table import ACTIONS, STATEMENTS
from pik.aws.index_items import SCHEMA, event_item, event_parameters
from pik.domain.identity import event_id, fingerprint
from pik.domain.instants import parse_instant
from pik.domain.segments import SegmentID
from pik.ports.index import Reservation

_NAME = "bare"


class Bare:
    """A bucket and two tables, and loops over them. Rates are events a second."""

    def __init__(self, endpoint: str) -> None:
        clients = AwsClients(AwsAccess(endpoint_url=endpoint, region="us-east-1", connections=64))
        self._s3 = clients.client("s3")
        self._dynamodb = clients.client("dynamodb")
        self._quick = clients.quick_dynamodb(self._dynamodb)  # as pik itself makes these calls
        self._number = 0
        self._s3.create_bucket(Bucket=_NAME)
        self._dynamodb.create_table(TableName=_NAME, BillingMode="PAY_PER_REQUEST", **SCHEMA)

    def naive(self, events: int, threads: int = 1) -> float:
        """For each event an object and two conditional items, one by one."""
        with ThreadPoolExecutor(threads) as pool:
            numbers = self._next(events)
            began = time.perf_counter()
            list(pool.map(self._one, numbers))
            return events / (time.perf_counter() - began)

    def _one(self, number: int) -> None:
        made = event(number, 10_000)
        key = str(made["idempotency_key"])
        self._s3.put_object(Bucket=_NAME, Key=f"raw/{key}", Body=msgspec.json.encode(made), IfNoneMatch="*")
        for sort, more in (("e", {"e": str(made["entity_id"]), "t": str(made["event_time"])}), ("m", {})):
            item = {"pk": key, "sk": sort, **more}
            self._dynamodb.put_item(
                TableName=_NAME,
                Item={name: {"S": value} for name, value in item.items()},
                ConditionExpression="attribute_not_exists(pk)",
            )

    def statements(self, events: int, at_once: int) -> float:
        """Conditional inserts of index items by BatchExecuteStatement, as many at once."""
        statement = f"INSERT INTO \"{_NAME}\" VALUE {{'pk':?,'sk':'e','e':?,'t':?,'v':?}}"
        wanted = [event_parameters(each) for each in self._reservations(events)]

        def put(batch: Sequence[Any]) -> None:
            made = [{"Statement": statement, "Parameters": parameters} for parameters in batch]
            told = self._quick.batch_execute_statement(Statements=made)
            if any("Error" in each for each in told["Responses"]):
                raise RuntimeError(str(told))

        return self._rate(wanted, STATEMENTS, at_once, put)

    def transactions(self, events: int, at_once: int) -> float:
        """The same by TransactWriteItems."""
        wanted = [event_item(each) for each in self._reservations(events)]

        def put(batch: Sequence[Any]) -> None:
            condition = "attribute_not_exists(pk)"
            self._quick.transact_write_items(
                TransactItems=[
                    {"Put": {"TableName": _NAME, "Item": item, "ConditionExpression": condition}}
                    for item in batch
                ]
            )

        return self._rate(wanted, ACTIONS, at_once, put)

    def _rate(
        self, wanted: Sequence[Any], size: int, at_once: int, put: Callable[[Sequence[Any]], None]
    ) -> float:
        batches = [wanted[start : start + size] for start in range(0, len(wanted), size)]
        with ThreadPoolExecutor(at_once) as pool:
            began = time.perf_counter()
            list(pool.map(put, batches))
            return len(wanted) / (time.perf_counter() - began)

    def _next(self, count: int) -> range:
        self._number += count
        return range(self._number - count, self._number)

    def _reservations(self, count: int) -> list[Reservation]:
        segment = SegmentID("0" * 32, 1)
        found = []
        for number in self._next(count):
            made = event(number, 10_000)
            entity, when = str(made["entity_id"]), parse_instant(str(made["event_time"]))
            content = fingerprint("flight", entity, when, str(number).encode())
            identity = event_id("departures", str(made["idempotency_key"]), content)
            found.append(Reservation(identity, content, segment, number, 1, entity, when))
        return found
