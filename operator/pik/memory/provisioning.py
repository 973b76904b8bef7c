"""An AWS account in memory: buckets and tables with their settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

import msgspec

from pik.memory.hooks import Hook, unhooked
from pik.memory.index import MemoryTable
from pik.memory.objects import MemoryBucket
from pik.planning.storage import (
    Action,
    BlockPublicAccess,
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


@dataclass
class MemoryAccount:
    """The settings by name, and the contents, which stores and indexes share; all may be changed by tests."""

    bucket_settings: dict[str, ObservedBucket] = field(default_factory=dict)
    buckets: dict[str, MemoryBucket] = field(default_factory=dict)
    table_settings: dict[str, ObservedTable] = field(default_factory=dict)
    tables: dict[str, MemoryTable] = field(default_factory=dict)

    def bucket(self, name: str) -> MemoryBucket:
        """The contents; those of a bucket that does not exist yet appear when it is made."""
        return self.buckets.setdefault(name, MemoryBucket(exists=False))

    def table(self, name: str) -> MemoryTable:
        return self.tables.setdefault(name, MemoryTable(exists=False))

    def drop_bucket(self, name: str) -> None:
        self.bucket_settings.pop(name, None)
        self.bucket(name).exists = False
        self.bucket(name).objects.clear()

    def drop_table(self, name: str) -> None:
        self.table_settings.pop(name, None)
        self.table(name).drop()


class MemoryProvisioner:
    """`ports.StorageProvisioner` over a `MemoryAccount`."""

    def __init__(self, account: MemoryAccount, before: Hook = unhooked, after: Hook = unhooked) -> None:
        self._account = account
        self._before = before
        self._after = after

    async def bucket(self, name: str, *, whole: bool = True) -> ObservedBucket | None:
        await self._before("provisioner.bucket")
        settings = self._account.bucket_settings.get(name)
        if settings is not None:
            empty = not self._account.bucket(name).objects
            settings = (
                msgspec.structs.replace(settings, empty=empty)
                if whole
                else msgspec.structs.replace(settings, empty=None, object_lock=None)
            )
        await self._after("provisioner.bucket")
        return settings

    async def table(self, name: str) -> ObservedTable | None:
        await self._before("provisioner.table")
        settings = self._account.table_settings.get(name)
        await self._after("provisioner.table")
        return settings

    async def apply(self, action: Action) -> None:
        await self._before("provisioner.apply")
        self._apply(action)
        await self._after("provisioner.apply")

    async def delete_bucket(self, name: str) -> None:
        await self._before("provisioner.delete_bucket")
        self._account.drop_bucket(name)
        await self._after("provisioner.delete_bucket")

    async def delete_table(self, name: str) -> None:
        await self._before("provisioner.delete_table")
        self._account.drop_table(name)
        await self._after("provisioner.delete_table")

    def _apply(self, action: Action) -> None:
        account = self._account
        match action:
            case CreateBucket():
                made = ObservedBucket(versioning=action.object_lock, object_lock=action.object_lock)
                account.bucket_settings.setdefault(action.bucket, made)
                account.bucket(action.bucket).exists = True
            case CreateTable():
                made_table = ObservedTable(tags=action.tags, deletion_protection=action.protected)
                account.table_settings.setdefault(action.table, made_table)
                account.table(action.table).exists = True
            case (
                SetOnDemand()
                | SetPointInTimeRecovery()
                | SetTimeToLive()
                | SetDeletionProtection()
                | SetTableTags()
            ):
                table = account.table_settings[action.table]
                account.table_settings[action.table] = _changed_table(table, action)
            case _:
                bucket = account.bucket_settings[action.bucket]
                account.bucket_settings[action.bucket] = _changed_bucket(bucket, action)


_TableChange = SetOnDemand | SetPointInTimeRecovery | SetTimeToLive | SetDeletionProtection | SetTableTags
_BucketChange = (
    SetVersioning | SetEncryption | EnableObjectLock | BlockPublicAccess | SetRules | SetBucketTags
)


def _changed_bucket(there: ObservedBucket, change: _BucketChange) -> ObservedBucket:
    replace = msgspec.structs.replace
    match change:
        case SetVersioning():
            return replace(there, versioning=True)
        case SetEncryption():
            return replace(there, encryption=change.encryption)
        case EnableObjectLock():
            return replace(there, object_lock=True)
        case BlockPublicAccess():
            return replace(there, public_access_blocked=True)
        case SetRules():
            rules = {**there.rules, **change.rules}
            return replace(there, rules={id_: rule for id_, rule in rules.items() if rule is not None})
        case SetBucketTags():
            return replace(there, tags={**there.tags, **change.tags})
        case _:
            assert_never(change)


def _changed_table(there: ObservedTable, change: _TableChange) -> ObservedTable:
    replace = msgspec.structs.replace
    match change:
        case SetOnDemand():
            return replace(there, on_demand=True)
        case SetPointInTimeRecovery():
            return replace(there, point_in_time_recovery=change.enabled)
        case SetTimeToLive():
            return replace(there, time_to_live=True)
        case SetDeletionProtection():
            return replace(there, deletion_protection=change.enabled)
        case SetTableTags():
            return replace(there, tags={**there.tags, **change.tags})
        case _:
            assert_never(change)
