"""A table's settings: read with AWS's defaults made explicit, and changed one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pik.aws.errors import call, is_code
from pik.aws.index_items import SCHEMA, TIME_TO_LIVE
from pik.domain.errors import NoSuchTable, PikError, Unavailable
from pik.planning.storage import ObservedTable
from pik.ports.system import Clock, Offload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_WAITS = (*range(1, 6), *(5 for _ in range(60)))  # seconds; a table is made in some ten


class TableSettings:
    def __init__(self, client: DynamoDBClient, io: Offload, clock: Clock) -> None:
        self._client = client
        self._io = io
        self._clock = clock

    async def observe(self, table: str) -> ObservedTable | None:
        try:
            return await call(self._io, self._observe, table)
        except NoSuchTable:
            return None

    def _observe(self, table: str) -> ObservedTable:
        """All calls in one thread."""
        client = self._client
        found: Any = client.describe_table(TableName=table)["Table"]
        if not _is_active(found):
            raise Unavailable(f"the table {table} is {found['TableStatus']}")
        backups = client.describe_continuous_backups(TableName=table)
        recovery = backups["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
        ttl = client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        billing = found.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
        return ObservedTable(
            on_demand=billing == "PAY_PER_REQUEST",
            point_in_time_recovery=recovery.get("PointInTimeRecoveryStatus") == "ENABLED",
            time_to_live=ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
            and ttl.get("AttributeName") == TIME_TO_LIVE,
            deletion_protection=found.get("DeletionProtectionEnabled", False),
            tags=self._tags(found["TableArn"]),
            fitting=_is_fitting(found),
        )

    async def create(self, table: str, tags: dict[str, str], *, protected: bool) -> None:
        try:
            await call(
                self._io,
                self._client.create_table,
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                DeletionProtectionEnabled=protected,
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                **SCHEMA,
            )
        except PikError as error:
            if not is_code(error, "ResourceInUseException"):
                raise
        await self._until_active(table)

    async def update(self, table: str, **change: Any) -> None:
        await call(self._io, self._client.update_table, TableName=table, **change)
        await self._until_active(table)

    async def set_point_in_time_recovery(self, table: str, *, enabled: bool) -> None:
        await call(
            self._io,
            self._client.update_continuous_backups,
            TableName=table,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": enabled},
        )

    async def enable_time_to_live(self, table: str) -> None:
        await call(
            self._io,
            self._client.update_time_to_live,
            TableName=table,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": TIME_TO_LIVE},
        )

    async def set_tags(self, table: str, tags: dict[str, str]) -> None:
        """Other tags stay."""
        arn = (await self._describe(table))["TableArn"]
        await call(
            self._io,
            self._client.tag_resource,
            ResourceArn=arn,
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )

    async def delete(self, table: str) -> None:
        try:
            await self.update(table, DeletionProtectionEnabled=False)
            await call(self._io, self._client.delete_table, TableName=table)
        except NoSuchTable:
            return

    async def _describe(self, table: str) -> dict[str, Any]:
        answer = await call(self._io, self._client.describe_table, TableName=table)
        found: Any = answer["Table"]
        return dict(found)

    async def _until_active(self, table: str) -> None:
        for seconds in _WAITS:
            if _is_active(await self._describe(table)):
                return
            await self._clock.sleep(seconds)
        raise Unavailable(f"the table {table} is not active yet")

    def _tags(self, arn: str) -> dict[str, str]:
        tags: dict[str, str] = {}
        request: dict[str, Any] = {"ResourceArn": arn}
        while True:
            answer = self._client.list_tags_of_resource(**request)
            tags |= {tag["Key"]: tag["Value"] for tag in answer.get("Tags", [])}
            if not answer.get("NextToken"):
                return tags
            request["NextToken"] = answer["NextToken"]


def _is_active(table: dict[str, Any]) -> bool:
    """Ready, its secondary indexes too."""
    indexes = table.get("GlobalSecondaryIndexes", [])
    return table["TableStatus"] == "ACTIVE" and all(
        index.get("IndexStatus", "ACTIVE") == "ACTIVE" for index in indexes
    )


def _is_fitting(table: dict[str, Any]) -> bool:
    def keys(of: dict[str, Any]) -> list[tuple[str, str]]:
        return sorted((key["AttributeName"], key["KeyType"]) for key in of["KeySchema"])

    (wanted,) = SCHEMA["GlobalSecondaryIndexes"]
    return keys(table) == keys(SCHEMA) and any(
        index["IndexName"] == wanted["IndexName"]
        and keys(index) == keys(wanted)
        and index["Projection"]["ProjectionType"] == "ALL"
        for index in table.get("GlobalSecondaryIndexes", [])
    )
