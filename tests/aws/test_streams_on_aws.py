"""CaptureStreams on S3 and DynamoDB as the emulator has them: what a stream costs in calls, and what is found
and set right when somebody changes its bucket or its table."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from aws.calls import Calls
from controller.clusters import Cluster
from controller.manifests import STREAM, events
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.system import ThreadOffload
from pik.controller.aws_cloud import AwsCloud
from pik.controller.objects import ObjectKey
from pik.controller.world import Timing

pytestmark = pytest.mark.emulator

RESYNC = 600.0
KEY = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CHANGES = ("Put", "Create", "Update", "Tag", "Untag", "Delete", "Batch", "Transact")


class Account:
    """The emulator, with hands that change things behind pik's back."""

    def __init__(self, endpoint: str, directory: Path) -> None:
        self.access = AwsAccess(endpoint_url=endpoint, connections=8)
        self.directory = directory
        self.calls = Calls()
        self.io, self.cpu = ThreadOffload(8, "aws"), ThreadOffload(1, "cpu")
        clients = AwsClients(self.access)
        self.s3, self.dynamodb = clients.client("s3"), clients.client("dynamodb")
        self.clusters: list[Cluster] = []

    def cluster(self, name: str) -> Cluster:
        made = Cluster(
            self.directory / name,
            name=name,
            timing=Timing(resync=RESYNC),
            cloud=lambda clock, entropy: AwsCloud(
                self.access,
                io=self.io,
                cpu=self.cpu,
                clock=clock,
                entropy=entropy,
                loopback=True,
                observer=self.calls,
            ),
        )
        self.clusters.append(made)
        return made

    async def close(self) -> None:
        for cluster in self.clusters:
            await cluster.stop()
        self.io.close()
        self.cpu.close()

    async def made(self, work: Callable[[], Any]) -> Counter[str]:
        """The calls that pik makes meanwhile."""
        before = Counter(self.calls.made)
        await work()
        return self.calls.made - before


@pytest.fixture
async def account(emulator: str, tmp_path: Path) -> AsyncIterator[Account]:
    made = Account(emulator, tmp_path)
    yield made
    await made.close()


def changes(calls: Counter[str]) -> Counter[str]:
    return Counter({call: number for call, number in calls.items() if call.startswith(CHANGES)})


async def ready(cluster: Cluster, text: str = STREAM) -> ObjectKey:
    key = cluster.apply(text)
    await cluster.settle()
    assert cluster.condition(key, "Ready") == ("True", "Provisioned"), [
        one.message for one in cluster.status(key).conditions
    ]
    return key


async def resync(cluster: Cluster) -> None:
    """Every object is looked at once, and no more."""
    await cluster.advance(RESYNC)


# What a stream costs


async def test_a_new_stream(account: Account, unique: str) -> None:
    cluster = account.cluster(unique)
    calls = await account.made(lambda: ready(cluster))
    assert calls.total() <= 42, calls
    assert changes(calls) == {
        # the bucket, its settings, and this stream as its owner
        "CreateBucket": 1,
        "PutBucketTagging": 1,
        "PutPublicAccessBlock": 1,
        "PutBucketVersioning": 1,
        "PutBucketLifecycleConfiguration": 1,
        "PutObject": 2,  # the owner record, and the record of the first generation
        # the table, its settings, and its generation: building, and ready
        "CreateTable": 1,
        "UpdateTimeToLive": 1,
        "UpdateContinuousBackups": 1,
        "PutItem": 2,
    }


LOOK = {
    # the bucket: settings that anybody may change, and whose it is
    "GetBucketVersioning": 1,
    "GetPublicAccessBlock": 1,
    "GetBucketEncryption": 1,
    "GetBucketLifecycleConfiguration": 1,
    "GetBucketTagging": 1,
    "GetObject": 1,
    # the table, and the generation that it holds
    "DescribeTable": 1,
    "DescribeContinuousBackups": 1,
    "DescribeTimeToLive": 1,
    "ListTagsOfResource": 1,
    "GetItem": 1,
    # the counters
    "Query": 1,
}


async def test_a_settled_stream_in_a_resync(account: Account, unique: str) -> None:
    cluster = account.cluster(unique)
    key = await ready(cluster)
    await resync(cluster)
    written, told = len(cluster.objects.written), len(cluster.objects.events)
    for _ in range(2):
        assert await account.made(lambda: resync(cluster)) == LOOK
    assert (len(cluster.objects.written), len(cluster.objects.events)) == (written, told)
    cluster.queue.add(key)
    assert await account.made(cluster.settle) == {}


async def test_once_an_hour_and_once_in_a_while(account: Account, unique: str) -> None:
    cluster = account.cluster(unique)
    key = await ready(cluster)
    await cluster.ingest(key, events(3))
    await cluster.settle()
    await resync(cluster)
    await resync(cluster)
    cluster.clock.advance(3_600)
    swept = await account.made(cluster.settle)
    # raw and manifest of the last hours are compared
    assert swept - Counter(LOOK) == {"ListObjectsV2": 1, "Query": 1}
    looked = await account.made(lambda: resync(cluster))
    # and the newest record of generations is read again
    assert looked - Counter(LOOK) == {"ListObjectsV2": 1, "GetObject": 1}
    assert await account.made(lambda: resync(cluster)) == LOOK


async def test_a_stream_that_takes_events(account: Account, unique: str) -> None:
    cluster = account.cluster(unique)
    key = await ready(cluster)
    await cluster.ingest(key, events(3))
    await cluster.settle()
    total = Counter[str]()
    for minute in range(8):
        await cluster.ingest(key, events(minute + 4)[-1:])
        total += await account.made(lambda: cluster.advance(60))
    looks = total["DescribeTable"]
    assert looks <= 1
    assert 7 <= total["Query"] - looks <= 8 + 2 + 1  # once a minute; and the manifest, for its seals
    assert total["PutObject"] <= 2  # a seal in five minutes
    assert total["ListObjectsV2"] <= 2 * 4
    assert total.total() <= 8 + 2 * 8 + looks * len(LOOK)


# What others change


def suspend_versioning(account: Account, bucket: str, table: str) -> None:
    account.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def edit_lifecycle(account: Account, bucket: str, table: str) -> None:
    rules: list[Any] = account.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    ours = next(rule for rule in rules if rule["ID"] == "pik:some/")
    ours["NoncurrentVersionExpiration"] = {"NoncurrentDays": 1}
    account.s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})


def delete_lifecycle(account: Account, bucket: str, table: str) -> None:
    account.s3.delete_bucket_lifecycle(Bucket=bucket)


def edit_tags(account: Account, bucket: str, table: str) -> None:
    tags: list[Any] = [{"Key": "team", "Value": "ops"}, {"Key": "cost", "Value": "7"}]
    account.s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})


def change_encryption(account: Account, bucket: str, table: str) -> None:
    default: Any = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    account.s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": default}]},
    )


def allow_public_access(account: Account, bucket: str, table: str) -> None:
    account.s3.delete_public_access_block(Bucket=bucket)


def stop_backups(account: Account, bucket: str, table: str) -> None:
    account.dynamodb.update_continuous_backups(
        TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False}
    )


def stop_protection(account: Account, bucket: str, table: str) -> None:
    account.dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)


def stop_expiry(account: Account, bucket: str, table: str) -> None:
    account.dynamodb.update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": False, "AttributeName": "x"}
    )


def tag_table(account: Account, bucket: str, table: str) -> None:
    arn = account.dynamodb.describe_table(TableName=table)["Table"]["TableArn"]
    account.dynamodb.untag_resource(ResourceArn=arn, TagKeys=["pik.dev/owner", "team"])
    account.dynamodb.tag_resource(ResourceArn=arn, Tags=[{"Key": "cost", "Value": "7"}])


def delete_table(account: Account, bucket: str, table: str) -> None:
    stop_protection(account, bucket, table)
    account.dynamodb.delete_table(TableName=table)


Hand = Callable[[Account, str, str], None]
HANDS: dict[Hand, set[str]] = {
    suspend_versioning: {"versioning"},
    edit_lifecycle: {"lifecycle"},
    delete_lifecycle: {"lifecycle"},
    edit_tags: {"tags"},
    change_encryption: {"encryption"},
    allow_public_access: {"publicAccess"},
    stop_backups: {"pointInTimeRecovery"},
    stop_protection: {"deletionProtection"},
    stop_expiry: {"timeToLive"},
    tag_table: {"tags"},
    delete_table: {"table"},
}
TAGGED = STREAM.replace("{prefix: some}", "{prefix: some, retentionDays: 30, tags: {team: data}}")


def add_what_is_theirs(account: Account, bucket: str) -> None:
    """A rule and a tag that are none of pik's."""
    rules: list[Any] = account.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    theirs = {
        "ID": "theirs",
        "Status": "Enabled",
        "Filter": {"Prefix": "other/"},
        "Expiration": {"Days": 9},
        "Transitions": [{"Days": 3, "StorageClass": "GLACIER"}],
    }
    account.s3.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [*rules, theirs]}
    )
    tags: list[Any] = account.s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    account.s3.put_bucket_tagging(
        Bucket=bucket, Tagging={"TagSet": [*tags, {"Key": "their", "Value": "tag"}]}
    )


def what_is_theirs(account: Account, bucket: str) -> tuple[Any, Any]:
    rules = account.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    tags = account.s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    return (
        [rule for rule in rules if rule["ID"] == "theirs"],
        [tag for tag in tags if tag["Key"] in ("their", "cost")],
    )


@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.__name__)
async def test_what_others_change_is_repaired(account: Account, unique: str, hand: Hand) -> None:
    cluster = account.cluster(unique)
    key = await ready(cluster, TAGGED)
    await cluster.ingest(key, events(3))
    status = cluster.status(key)
    bucket, table = status.storage.bucket, status.index.table
    add_what_is_theirs(account, bucket)
    await resync(cluster)
    assert cluster.status(key).drift == ()  # what is theirs is no difference
    hand(account, bucket, table)
    theirs = what_is_theirs(account, bucket) if hand is not delete_lifecycle else None
    await resync(cluster)
    assert {drift.field for drift in cluster.status(key).drift} == HANDS[hand]
    assert {drift.action for drift in cluster.status(key).drift} == {"Repaired"}
    assert cluster.condition(key, "Ready") == ("True", "Provisioned")
    assert [one.reason for _, one in cluster.objects.events].count("DriftRepaired") == 1
    assert theirs is None or what_is_theirs(account, bucket) == theirs
    await cluster.settle()
    written, told = len(cluster.objects.written), len(cluster.objects.events)
    for _ in range(2):
        assert changes(await account.made(lambda: resync(cluster))) == {}
    assert (len(cluster.objects.written), len(cluster.objects.events)) == (written, told)
    assert await cluster.ingest(key, events(3)) == ["DUPLICATE"] * 3


@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.__name__)
async def test_what_others_change_is_reported_and_left_alone(
    account: Account, unique: str, hand: Hand
) -> None:
    cluster = account.cluster(unique)
    key = await ready(cluster, TAGGED + "  driftPolicy: Report\n")
    status = cluster.status(key)
    await resync(cluster)
    hand(account, status.storage.bucket, status.index.table)
    assert changes(await account.made(lambda: resync(cluster))) == {}
    assert cluster.condition(key, "Stalled") == ("True", "DriftReported")
    assert {(drift.field, drift.action) for drift in cluster.status(key).drift} == {
        (field, "Reported") for field in HANDS[hand]
    }
    written, told = len(cluster.objects.written), len(cluster.objects.events)
    assert changes(await account.made(lambda: cluster.advance(RESYNC))) == {}
    assert (len(cluster.objects.written), len(cluster.objects.events)) == (written, told)


SPECS = {
    "plain": "{prefix: some}",
    "nested": "{prefix: a/b/c}",
    "key": f"{{prefix: some, encryption: {{type: KMS, kmsKeyARN: '{KEY}'}}}}",
    "locked": "{prefix: some, objectLock: {mode: Governance, days: 7}, retentionDays: 30}",
    "deleted": "{prefix: some, deletionPolicy: Delete, tags: {a: b, c: d}}",
}


@pytest.mark.parametrize("storage", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize("index", ["{}", "{pointInTimeRecovery: Disabled, deduplication: OnRead}"])
async def test_what_aws_adds_by_itself_is_no_difference(
    account: Account, unique: str, storage: str, index: str
) -> None:
    cluster = account.cluster(unique)
    key = await ready(cluster, STREAM.replace("{prefix: some}", storage) + f"  index: {index}\n")
    await resync(cluster)  # with the first seal
    written, told = len(cluster.objects.written), len(cluster.objects.events)
    for _ in range(2):
        assert changes(await account.made(lambda: resync(cluster))) == {}
    assert (len(cluster.objects.written), len(cluster.objects.events)) == (written, told)
    assert cluster.status(key).drift == ()
    cluster.start()  # a new process, which knows nothing
    again = await account.made(cluster.settle)
    assert changes(again) == {}
    assert (len(cluster.objects.written), len(cluster.objects.events)) == (written, told)


async def test_an_adopted_bucket_stays_its_owners(account: Account, unique: str) -> None:
    account.s3.create_bucket(Bucket=unique)
    account.s3.put_bucket_versioning(Bucket=unique, VersioningConfiguration={"Status": "Enabled"})
    cluster = account.cluster(unique)
    adopting = f"{{prefix: some, bucket: {{name: {unique}, origin: Adopt}}, tags: {{team: data}}}}"
    key = await ready(cluster, STREAM.replace("{prefix: some}", adopting))
    await resync(cluster)
    account.s3.put_bucket_tagging(Bucket=unique, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    account.s3.delete_public_access_block(Bucket=unique)
    assert changes(await account.made(lambda: resync(cluster))) == {}
    suspend_versioning(account, unique, "")
    assert changes(await account.made(lambda: resync(cluster))) == {}
    assert cluster.condition(key, "Stalled") == ("True", "InvalidSpec")


# What cannot be repaired


async def test_a_bucket_that_vanished_is_lost(account: Account, unique: str) -> None:
    cluster = account.cluster(unique)
    key = await ready(cluster)
    await cluster.ingest(key, events(3))
    bucket = cluster.status(key).storage.bucket
    versions = account.s3.list_object_versions(Bucket=bucket)
    for found in versions["Versions"]:
        account.s3.delete_object(Bucket=bucket, Key=found["Key"], VersionId=found["VersionId"])
    account.s3.delete_bucket(Bucket=bucket)
    assert changes(await account.made(lambda: resync(cluster))) == {}
    assert cluster.condition(key, "Stalled") == ("True", "DataLost")
    await resync(cluster)
    assert bucket not in {found["Name"] for found in account.s3.list_buckets()["Buckets"]}


async def test_two_objects_that_want_one_prefix(account: Account, unique: str) -> None:
    cluster = account.cluster(unique)
    shared = f"{{prefix: some, bucket: {{name: {unique}}}}}"
    first = await ready(cluster, STREAM.replace("{prefix: some}", shared))
    second = cluster.apply(STREAM.replace("{prefix: some}", shared).replace("name: things", "name: others"))
    assert changes(await account.made(cluster.settle)) == {}
    assert cluster.condition(second, "Stalled") == ("True", "OwnershipConflict")
    await resync(cluster)
    assert cluster.condition(first, "Ready") == ("True", "Provisioned")
    assert cluster.status(first).drift == ()


async def test_two_clusters_that_want_one_bucket(account: Account, unique: str) -> None:
    here, there = account.cluster(f"{unique}-here"), account.cluster(f"{unique}-there")
    shared = STREAM.replace("{prefix: some}", f"{{prefix: some, bucket: {{name: {unique}}}}}")
    first = await ready(here, shared)
    second = there.apply(shared)
    assert changes(await account.made(there.settle)) == {}
    assert there.condition(second, "Stalled") == ("True", "OwnershipConflict")
    await resync(here)
    assert here.condition(first, "Ready") == ("True", "Provisioned")
    elsewhere = there.apply(shared.replace("prefix: some", "prefix: other").replace("things", "others"))
    assert changes(await account.made(there.settle)) == {}
    assert there.condition(elsewhere, "Stalled") == ("True", "BucketTaken")
