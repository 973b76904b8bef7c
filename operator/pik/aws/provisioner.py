"""Buckets and tables of one account and region, read back and set right."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never
from weakref import WeakValueDictionary

from pik.aws.bucket_settings import BucketSettings
from pik.aws.table_settings import TableSettings
from pik.planning.storage import (
    Action,
    BlockPublicAccess,
    BucketAction,
    CreateBucket,
    CreateTable,
    EnableObjectLock,
    ObservedBucket,
    ObservedTable,
    SetBucketTags,
    SetDeletionProtection,
    SetEncryption,
    SetOnDemand,
    SetPointInTimeRecovery,
    SetRules,
    SetTableTags,
    SetTimeToLive,
    SetVersioning,
)
from pik.ports.system import Clock, Offload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client


class AwsProvisioner:
    """`ports.StorageProvisioner`. On each bucket and table one action at a time: rules and tags are read,
    changed and written back, and several streams of this process may share a bucket."""

    def __init__(self, s3: S3Client, dynamodb: DynamoDBClient, io: Offload, clock: Clock) -> None:
        self._buckets = BucketSettings(s3, io)
        self._tables = TableSettings(dynamodb, io, clock)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # while they are held

    async def bucket(self, name: str, *, whole: bool = True) -> ObservedBucket | None:
        return await self._buckets.observe(name, whole=whole)

    async def table(self, name: str) -> ObservedTable | None:
        return await self._tables.observe(name)

    async def apply(self, action: Action) -> None:
        name = action.bucket if isinstance(action, BucketAction) else action.table
        async with self._turns.setdefault(name, asyncio.Lock()):
            await self._apply(action)

    async def delete_bucket(self, name: str) -> None:
        await self._buckets.delete(name)

    async def delete_table(self, name: str) -> None:
        await self._tables.delete(name)

    async def _apply(self, action: Action) -> None:
        buckets, tables = self._buckets, self._tables
        match action:
            case CreateBucket():
                await buckets.create(action.bucket, object_lock=action.object_lock)
            case SetVersioning():
                await buckets.enable_versioning(action.bucket)
            case SetEncryption():
                await buckets.encrypt(action.bucket, action.encryption)
            case EnableObjectLock():
                await buckets.enable_object_lock(action.bucket)
            case BlockPublicAccess():
                await buckets.block_public_access(action.bucket)
            case SetRules():
                await buckets.set_rules(action.bucket, action.rules)
            case SetBucketTags():
                await buckets.set_tags(action.bucket, action.tags)
            case CreateTable():
                await tables.create(action.table, action.tags, protected=action.protected)
            case SetOnDemand():
                await tables.update(action.table, BillingMode="PAY_PER_REQUEST")
            case SetDeletionProtection():
                await tables.update(action.table, DeletionProtectionEnabled=action.enabled)
            case SetPointInTimeRecovery():
                await tables.set_point_in_time_recovery(action.table, enabled=action.enabled)
            case SetTimeToLive():
                await tables.enable_time_to_live(action.table)
            case SetTableTags():
                await tables.set_tags(action.table, action.tags)
            case _:
                assert_never(action)
