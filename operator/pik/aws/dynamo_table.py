"""The few DynamoDB operations that the index is made of, with what is asked again and what is an error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from pik.aws.errors import call, cancellation_codes, is_code, of_code
from pik.aws.index_items import Item
from pik.domain.errors import PikError, Refused, Unavailable
from pik.ports.system import Clock, Entropy, Offload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from pik.aws.quick import QuickDynamoDB

STATEMENTS = 25  # of a BatchExecuteStatement
KEYS = 100  # of a BatchGetItem
ACTIONS = 100  # of a TransactWriteItems
_ATTEMPTS = 6
_FIRST_WAIT = 0.05  # seconds, doubling


class DynamoTable:
    """Every call raises `NoSuchTable`, and those of `call`. What a batch left undone is asked again a few
    times, with growing waits; what is still undone then is `Throttled` or `Unavailable`."""

    def __init__(
        self,
        client: DynamoDBClient | QuickDynamoDB,
        name: str,
        io: Offload,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self.name = name
        self._client: Any = client
        self._io = io
        self._clock = clock
        self._entropy = entropy

    async def get(self, key: Item) -> Item | None:
        answer = await call(
            self._io, self._client.get_item, TableName=self.name, Key=key, ConsistentRead=True
        )
        item: Item | None = answer.get("Item")
        return item

    async def get_all(self, keys: Sequence[Item]) -> list[Item]:
        """The items that there are, in no order; up to 100 keys."""
        items: list[Item] = []
        left: Any = {self.name: {"Keys": keys, "ConsistentRead": True}}
        async for _ in self._tries():
            answer = await call(self._io, self._client.batch_get_item, RequestItems=left)
            items += answer["Responses"].get(self.name, [])
            left = answer.get("UnprocessedKeys")
            if not left:
                return items
        raise of_code("ProvisionedThroughputExceeded", f"keys of {self.name} left unread")

    async def insert(self, statement: str, parameters: Sequence[list[Item]]) -> list[int]:
        """Runs up to 25 PartiQL INSERTs, each for itself. The positions of those that met another item."""
        met: list[int] = []
        left = list(range(len(parameters)))
        refused: PikError | None = None
        async for _ in self._tries():
            answer = await call(
                self._io,
                self._client.batch_execute_statement,
                Statements=[{"Statement": statement, "Parameters": parameters[i]} for i in left],
            )
            again = []
            for position, response in zip(left, answer["Responses"], strict=True):
                error = response.get("Error")
                if error is None:
                    continue
                if error["Code"] == "DuplicateItem":
                    met.append(position)
                    continue
                refused = of_code(error["Code"], error.get("Message", ""))
                if not isinstance(refused, Unavailable):
                    raise refused
                again.append(position)
            if not again:
                return met
            left = again
        raise refused or Unavailable(f"{self.name} answered nothing")

    async def put_if(self, item: Item, condition: str, values: Item) -> bool:
        """Whether the condition held, and the item was put."""
        return await self._conditional(
            self._client.put_item, Item=item, ConditionExpression=condition, ExpressionAttributeValues=values
        )

    async def delete_if(self, key: Item, condition: str, values: Item) -> bool:
        return await self._conditional(
            self._client.delete_item,
            Key=key,
            ConditionExpression=condition,
            ExpressionAttributeValues=values,
        )

    async def transact(self, actions: Sequence[Any]) -> list[int]:
        """Does up to 100 actions, or none. The positions of those whose condition did not hold: empty when
        all was done."""
        error: PikError | None = None
        async for _ in self._tries():
            try:
                await call(self._io, self._client.transact_write_items, TransactItems=actions)
                return []
            except Refused as cancelled:
                codes = cancellation_codes(cancelled)
                failed = [i for i, name in enumerate(codes) if name == "ConditionalCheckFailed"]
                if failed:
                    return failed
                # the parts that another transaction or a limit kept from it
                error = next((of_code(name, self.name) for name in codes if name != "None"), cancelled)
                if not isinstance(error, Unavailable):
                    raise error from cancelled
        raise error or Unavailable(f"{self.name} answered nothing")

    async def query(self, condition: str, values: Item, **options: Any) -> AsyncIterator[Item]:
        """Paged to the end."""
        request: Any = {
            "TableName": self.name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            **options,
        }
        async for item in self._paged(self._client.query, request):
            yield item

    async def scan(self, condition: str, values: Item) -> AsyncIterator[Item]:
        """All items of the table for which the condition holds, paged to the end."""
        request: Any = {
            "TableName": self.name,
            "FilterExpression": condition,
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
        async for item in self._paged(self._client.scan, request):
            yield item

    async def pause(self, attempt: int) -> None:
        """Waits before another try: half of a doubling time, and a random part of the other half."""
        part = (1 + int(self._entropy.hex(4), 16) / 0xFFFF) / 2
        await self._clock.sleep(_FIRST_WAIT * 2**attempt * part)

    async def _paged(self, method: Callable[..., Any], request: Any) -> AsyncIterator[Item]:
        while True:
            answer = await call(self._io, method, **request)
            for item in answer["Items"]:
                yield item
            if not answer.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def _tries(self) -> AsyncIterator[int]:
        for attempt in range(_ATTEMPTS):
            yield attempt
            await self.pause(attempt)

    async def _conditional(self, method: Callable[..., Any], **request: Any) -> bool:
        try:
            await call(self._io, method, TableName=self.name, **request)
        except Refused as error:
            if is_code(error, "ConditionalCheckFailedException"):
                return False
            raise
        return True
