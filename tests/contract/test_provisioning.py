"""What the work may expect of any provisioner: made, read back, set right, and nothing else touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from contract.conftest import BOTH
from pik.api.capture_stream import CaptureStreamSpec
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.provisioner import AwsProvisioner
from pik.aws.system import SystemClock
from pik.domain.errors import BucketTaken, Denied
from pik.domain.instants import Instant
from pik.memory.provisioning import MemoryAccount, MemoryProvisioner
from pik.planning.storage import (
    CreateBucket,
    LifecycleRule,
    Names,
    bucket_differences,
    table_differences,
)
from pik.ports.objects import StoredObject
from pik.ports.provisioning import StorageProvisioner

STREAM = "5" * 32
KEY = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@dataclass
class Cloud:
    """A provisioner, and hands that change things behind its back."""

    provisioner: StorageProvisioner
    versioning_off: Callable[[], None]
    put_rules: Callable[[list[dict[str, Any]]], None]
    put_tags: Callable[[dict[str, str]], None]
    put_object: Callable[[str], None]
    protection_off: Callable[[], None]
    drop_table: Callable[[], None]
    name: str
    names: Names = field(init=False)

    def __post_init__(self) -> None:
        self.names = Names("home", "team", "flights", self.name, "p/flights/")

    async def differences(self, spec: CaptureStreamSpec) -> list[Any]:
        bucket = await self.provisioner.bucket(self.name)
        table = await self.provisioner.table(self.name)
        return [
            *bucket_differences(spec, self.names, bucket, owned=False, known_stream=None),
            *table_differences(spec, self.names, self.name, STREAM, table),
        ]

    async def settle(self, spec: CaptureStreamSpec) -> list[str]:
        """One pass; the fields that it set right."""
        differences = await self.differences(spec)
        for difference in differences:
            await self.provisioner.apply(difference.action)
        return [difference.field for difference in differences]


def in_memory(name: str) -> Cloud:
    account = MemoryAccount()

    def change(**changes: Any) -> None:
        account.bucket_settings[name] = msgspec.structs.replace(account.bucket_settings[name], **changes)

    def put_rules(raw: list[dict[str, Any]]) -> None:
        change(
            rules={
                rule["ID"]: LifecycleRule(rule["Filter"]["Prefix"], rule["Expiration"]["Days"], None, None)
                for rule in raw
            }
        )

    def protection_off() -> None:
        there = account.table_settings[name]
        account.table_settings[name] = msgspec.structs.replace(there, deletion_protection=False)

    def put_object(key: str) -> None:
        account.bucket(name).objects[key] = StoredObject(b"", "", Instant(0))

    return Cloud(
        MemoryProvisioner(account),
        lambda: change(versioning=False),
        put_rules,
        lambda tags: change(tags=tags),
        put_object,
        protection_off,
        lambda: account.drop_table(name),
        name,
    )


def on_the_emulator(name: str, clients: AwsClients, io: Any) -> Cloud:
    s3, dynamodb = clients.client("s3"), clients.client("dynamodb")

    def put_rules(raw: list[Any]) -> None:
        s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": raw})

    def put_tags(tags: dict[str, str]) -> None:
        tag_set: Any = [{"Key": key, "Value": value} for key, value in tags.items()]
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tag_set})

    def protection_off() -> None:
        dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)

    return Cloud(
        AwsProvisioner(s3, dynamodb, io, SystemClock()),
        lambda: (
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"}) and None
        ),
        put_rules,
        put_tags,
        lambda key: s3.put_object(Bucket=name, Key=key) and None,
        protection_off,
        lambda: dynamodb.delete_table(TableName=name) and None,
        name,
    )


@pytest.fixture(params=BOTH)
def cloud(request: pytest.FixtureRequest, unique: str) -> Cloud:
    if request.param == "memory":
        return in_memory(unique)
    return on_the_emulator(unique, request.getfixturevalue("clients"), request.getfixturevalue("io"))


def spec(**storage: Any) -> CaptureStreamSpec:
    return CaptureStreamSpec.model_validate(
        {"storage": {"prefix": "p/flights", "retentionDays": 30, "tags": {"team": "data"}, **storage}}
    )


async def test_made_and_then_nothing_to_do(cloud: Cloud) -> None:
    assert await cloud.provisioner.bucket(cloud.name) is None
    assert await cloud.provisioner.table(cloud.name) is None
    assert await cloud.settle(spec()) == [
        *("bucket", "tags", "publicAccess", "versioning", "lifecycle"),
        *("table", "timeToLive", "pointInTimeRecovery"),
    ]
    assert await cloud.settle(spec()) == []
    bucket = await cloud.provisioner.bucket(cloud.name)
    assert bucket is not None
    assert bucket.versioning
    assert bucket.empty
    assert bucket.rules["pik:p/flights/raw"].expire_days == 31


async def test_with_object_lock_and_a_key(cloud: Cloud) -> None:
    wanted = spec(objectLock={"mode": "Governance", "days": 7}, encryption={"type": "KMS", "kmsKeyARN": KEY})
    await cloud.settle(wanted)
    assert await cloud.settle(wanted) == []
    bucket = await cloud.provisioner.bucket(cloud.name)
    assert bucket is not None
    assert bucket.object_lock
    assert bucket.encryption.kms_key == KEY
    assert await cloud.settle(spec()) == ["encryption"]
    assert await cloud.settle(spec()) == []


async def test_object_lock_later(cloud: Cloud) -> None:
    await cloud.settle(spec())
    locked = spec(objectLock={"mode": "Governance", "days": 7})
    assert await cloud.settle(locked) == ["objectLock"]
    assert await cloud.settle(locked) == []


async def test_every_action_may_be_done_again(cloud: Cloud) -> None:
    differences = await cloud.differences(spec())
    for difference in differences:
        await cloud.provisioner.apply(difference.action)
        await cloud.provisioner.apply(difference.action)
    assert await cloud.settle(spec()) == []


async def test_drift_is_found_and_set_right(cloud: Cloud) -> None:
    await cloud.settle(spec())
    cloud.versioning_off()
    assert await cloud.settle(spec()) == ["versioning"]
    cloud.put_tags({"team": "ops", "pik.dev/owner": "home/team/flights"})
    assert await cloud.settle(spec()) == ["tags"]
    cloud.protection_off()
    assert await cloud.settle(spec()) == ["deletionProtection"]
    cloud.protection_off()
    cloud.drop_table()
    assert (await cloud.settle(spec()))[0] == "table"
    assert await cloud.settle(spec()) == []


async def test_foreign_rules_and_tags_stay(cloud: Cloud) -> None:
    await cloud.settle(spec())
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "other/"}, "Expiration": {"Days": 9}}
    edited = {**theirs, "ID": "pik:p/flights/raw", "Filter": {"Prefix": "p/flights/raw/"}}
    cloud.put_rules([theirs, edited])
    cloud.put_tags({"cost": "7", "pik.dev/owner": "home/team/flights"})
    assert await cloud.settle(spec()) == ["tags", "lifecycle"]
    assert await cloud.settle(spec()) == []
    bucket = await cloud.provisioner.bucket(cloud.name)
    assert bucket is not None
    assert bucket.tags == {"cost": "7", "pik.dev/owner": "home/team/flights", "team": "data"}
    assert bucket.rules == {
        "theirs": LifecycleRule("other/", 9, None, None),
        "pik:p/flights/": LifecycleRule("p/flights/", None, 7, 1),
        "pik:p/flights/raw": LifecycleRule("p/flights/raw/", 31, None, None),
    }
    forever = spec(retentionDays=None)
    await cloud.settle(forever)
    bucket = await cloud.provisioner.bucket(cloud.name)
    assert bucket is not None
    assert sorted(bucket.rules) == ["pik:p/flights/", "theirs"]


async def test_a_bucket_with_something_in_it_and_no_tags_is_not_ours(cloud: Cloud) -> None:
    await cloud.provisioner.apply(CreateBucket(cloud.name, object_lock=False))
    cloud.put_object("somebody's")
    with pytest.raises(BucketTaken):
        await cloud.differences(spec())


async def test_deleted_with_all_that_is_in_it(cloud: Cloud) -> None:
    await cloud.settle(spec())
    for number in range(3):
        cloud.put_object("a")
        cloud.put_object(f"b/{number}")
    await cloud.provisioner.delete_bucket(cloud.name)
    await cloud.provisioner.delete_table(cloud.name)
    assert await cloud.provisioner.bucket(cloud.name) is None
    assert await cloud.provisioner.table(cloud.name) is None
    await cloud.provisioner.delete_bucket(cloud.name)
    await cloud.provisioner.delete_table(cloud.name)


@pytest.mark.emulator
async def test_rules_that_pik_cannot_say_are_kept_to_the_letter(
    clients: AwsClients, io: Any, unique: str
) -> None:
    cloud = on_the_emulator(unique, clients, io)
    await cloud.settle(spec())
    theirs: list[Any] = [
        {
            "ID": "cold",
            "Status": "Enabled",
            "Filter": {"And": {"Prefix": "x/", "Tags": [{"Key": "a", "Value": "b"}]}},
            "Transitions": [{"Days": 30, "StorageClass": "GLACIER"}],
        },
        {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": "y/"}, "Expiration": {"Days": 1}},
    ]
    cloud.put_rules(theirs)
    s3 = clients.client("s3")
    before = s3.get_bucket_lifecycle_configuration(Bucket=unique)["Rules"]
    assert await cloud.settle(spec()) == ["lifecycle"]
    assert await cloud.settle(spec()) == []
    after = s3.get_bucket_lifecycle_configuration(Bucket=unique)["Rules"]
    assert [rule for rule in after if not rule["ID"].startswith("pik:")] == before


@pytest.mark.emulator
async def test_another_accounts_bucket(emulator: str, clients: AwsClients, io: Any, unique: str) -> None:
    theirs = AwsClients(AwsAccess(emulator, emulated_account="222222222222")).client("s3")
    theirs.create_bucket(Bucket=unique)
    cloud = on_the_emulator(unique, clients, io)
    with pytest.raises((Denied, BucketTaken)):
        await cloud.settle(spec())
