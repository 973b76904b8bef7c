"""What there is in an account and region that pik has made: by the tagging API, or where that is not to be
had by listing buckets and tables and reading the tags of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pik.aws.errors import call, is_code
from pik.domain.errors import Denied, NoSuchBucket, NoSuchTable, PikError, Refused
from pik.domain.instants import Instant, instant_of
from pik.execution.concurrency import all_of
from pik.planning.storage import OWNER_TAG
from pik.planning.unclaimed import Made, Tagged
from pik.ports.inventory import TableFacts
from pik.ports.system import Offload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

_PAGE = 100  # resources an answer of the tagging API
_BUCKETS = 1_000  # an answer
_AT_ONCE = 16  # tags read side by side


class AwsInventory:
    """`ports.Inventory`. `tagging`: a client of the Resource Groups Tagging API."""

    def __init__(self, s3: S3Client, dynamodb: DynamoDBClient, tagging: Any, io: Offload) -> None:
        self._s3 = s3
        self._dynamodb = dynamodb
        self._tagging = tagging
        self._io = io

    @property
    def region(self) -> str:
        return str(self._s3.meta.region_name)

    async def tagged(self) -> list[Tagged]:
        try:
            found = await self._by_tags()
        except (Denied, Refused):  # not allowed, or an emulator that has no such service
            found = [*await self._buckets_by_list(), *await self._tables_by_list()]
        return sorted(found, key=lambda one: (one.made, one.name))

    async def buckets(self) -> Mapping[str, Instant]:
        return {bucket["Name"]: instant_of(bucket["CreationDate"]) for bucket in await self._list_buckets()}

    async def rules(self, bucket: str) -> list[str] | None:
        try:
            answer = await call(self._io, self._s3.get_bucket_lifecycle_configuration, Bucket=bucket)
        except NoSuchBucket:
            return None
        except PikError as error:
            if is_code(error, "NoSuchLifecycleConfiguration"):
                return []
            raise
        return [rule["ID"] for rule in answer["Rules"] if "ID" in rule]

    async def table(self, name: str) -> TableFacts | None:
        try:
            found = (await call(self._io, self._dynamodb.describe_table, TableName=name))["Table"]
        except NoSuchTable:
            return None
        return TableFacts(instant_of(found["CreationDateTime"]), found["ItemCount"], found["TableSizeBytes"])

    async def _by_tags(self) -> list[Tagged]:
        pages = self._pages(
            self._tagging.get_resources,
            ("PaginationToken", "PaginationToken"),
            TagFilters=[{"Key": OWNER_TAG}],
            ResourceTypeFilters=["s3", "dynamodb:table"],
            ResourcesPerPage=_PAGE,
        )
        found = [self._of_arn(one) for page in await pages for one in page["ResourceTagMappingList"]]
        return [one for one in found if one is not None]

    def _of_arn(self, mapping: dict[str, Any]) -> Tagged | None:
        """None for what else S3 has that may be tagged."""
        _, _, service, region, _, resource = mapping["ResourceARN"].split(":", 5)
        tags = _tags(mapping["Tags"])
        if service == "dynamodb":
            return Tagged(Made.TABLE, resource.removeprefix("table/"), region, tags)
        return None if "/" in resource or region else Tagged(Made.BUCKET, resource, self.region, tags)

    async def _buckets_by_list(self) -> list[Tagged]:
        here = [
            bucket["Name"]
            for bucket in await self._list_buckets()
            if bucket.get("BucketRegion", self.region) == self.region
        ]

        async def one(name: str) -> Tagged | None:
            try:
                answer = await call(self._io, self._s3.get_bucket_tagging, Bucket=name)
            except (Denied, NoSuchBucket):
                return None  # another's, or gone meanwhile
            except PikError as error:
                if is_code(error, "NoSuchTagSet"):
                    return None
                raise
            return _if_ours(Tagged(Made.BUCKET, name, self.region, _tags(answer["TagSet"])))

        return await _all(one, here)

    async def _tables_by_list(self) -> list[Tagged]:
        pages = await self._pages(
            self._dynamodb.list_tables, ("ExclusiveStartTableName", "LastEvaluatedTableName")
        )

        async def one(name: str) -> Tagged | None:
            try:
                described = await call(self._io, self._dynamodb.describe_table, TableName=name)
                tags = await self._pages(
                    self._dynamodb.list_tags_of_resource,
                    ("NextToken", "NextToken"),
                    ResourceArn=described["Table"]["TableArn"],
                )
            except (Denied, NoSuchTable):
                return None
            return _if_ours(
                Tagged(Made.TABLE, name, self.region, _tags(tag for page in tags for tag in page["Tags"]))
            )

        return await _all(one, [name for page in pages for name in page["TableNames"]])

    async def _list_buckets(self) -> list[dict[str, Any]]:
        pages = await self._pages(
            self._s3.list_buckets, ("ContinuationToken", "ContinuationToken"), MaxBuckets=_BUCKETS
        )
        return [bucket for page in pages for bucket in page.get("Buckets", [])]

    async def _pages(
        self, method: Callable[..., Any], token: tuple[str, str], **request: Any
    ) -> list[dict[str, Any]]:
        """Every page. `token`: its name in a request, and in an answer."""
        asked, given = token
        pages = [await call(self._io, method, **request)]
        while pages[-1].get(given):
            pages.append(await call(self._io, method, **request, **{asked: pages[-1][given]}))
        return pages


async def _all(one: Callable[[str], Awaitable[Tagged | None]], names: list[str]) -> list[Tagged]:
    found = await all_of([partial(one, name) for name in names], _AT_ONCE)
    return [there for there in found if there is not None]


def _if_ours(one: Tagged) -> Tagged | None:
    return one if OWNER_TAG in one.tags else None


def _tags(raw: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in raw}
