"""Looking for what nobody has any more: what tags say is held against what is there."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from aws.calls import Calls
from pik.api.capture_stream import CaptureStreamSpec
from pik.aws.clients import AwsAccess
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.controller.aws_cloud import AwsCloud
from pik.domain.errors import Denied
from pik.domain.instants import Instant
from pik.domain.layout import owner_key
from pik.execution.ownership import Claimant, OwnerRecord, claim
from pik.execution.unclaimed import Region, Search, search
from pik.memory.inventory import MemoryInventory
from pik.memory.objects import MemoryObjectStore
from pik.memory.provisioning import MemoryAccount, MemoryProvisioner
from pik.memory.system import ManualClock
from pik.planning.storage import Names, bucket_differences, table_differences
from pik.planning.unclaimed import Claim, Made, Tagged

START = Instant(1_764_000_000_000_000)
ID = "5" * 32


class Account:
    """Buckets and tables that pik made; `here`: as an inventory has them."""

    def __init__(self) -> None:
        self.memory = MemoryAccount()
        self.clock = ManualClock(START)
        self.here = MemoryInventory(self.memory)

    async def provision(self, bucket: str, owner: str = "home/team/things", prefix: str = "a/b/") -> None:
        """As the operator does it, with a table of the bucket's name."""
        spec = CaptureStreamSpec.model_validate({"storage": {"prefix": prefix.rstrip("/")}})
        names = Names(*owner.split("/"), bucket, prefix)
        provisioner = MemoryProvisioner(self.memory)
        for difference in (
            *bucket_differences(spec, names, None, owned=False, known_stream=None),
            *table_differences(spec, names, bucket, ID, None),
        ):
            await provisioner.apply(difference.action)
        await self.own(bucket, owner, prefix)

    async def own(self, bucket: str, owner: str, prefix: str = "a/b/") -> None:
        record = OwnerRecord(ID, *owner.split("/"), epoch=1)
        there = self.memory.bucket(bucket).objects
        there.pop(owner_key(prefix), None)
        store = MemoryObjectStore(self.memory.bucket(bucket), self.clock)
        await store.create(owner_key(prefix), msgspec.json.encode(record))

    async def search(self, *claims: Claim) -> Search:
        region = Region(
            self.here,
            lambda bucket: MemoryObjectStore(self.memory.bucket(bucket), self.clock),
        )
        return await search(region, "home", claims, None)


@pytest.fixture
def account() -> Account:
    return Account()


async def test_bucket_and_table_of_a_stream_that_is_gone(account: Account) -> None:
    await account.provision("b")
    bucket, table = (await account.search()).unclaimed
    assert (bucket.tagged.made, bucket.owner, bucket.stream_ids) == (Made.BUCKET, "team/things", (ID,))
    assert [held.prefix for held in bucket.held] == ["a/b/"]
    assert (table.tagged.made, table.owner, table.stream_ids) == (Made.TABLE, "team/things", (ID,))
    assert (table.entries, bucket.created is not None) == (0, True)


async def test_nothing_of_a_stream_that_is_there(account: Account) -> None:
    await account.provision("b")
    claim = Claim("home/team/things", frozenset({"b"}), frozenset({"b"}), settled=True)
    found = await account.search(claim)
    assert (found.unclaimed, found.claimed) == ((), 2)


async def test_a_bucket_that_another_cluster_took_over_is_in_use(account: Account) -> None:
    await account.provision("b")
    account.memory.drop_table("b")
    await account.own("b", "away/team/things")
    found = await account.search()
    assert (found.unclaimed, found.claimed) == ((), 1)


async def test_a_bucket_that_is_gone_is_remembered_by_its_tags_for_a_while(account: Account) -> None:
    await account.provision("b")
    (remembered, _) = await account.here.tagged()
    account.memory.drop_bucket("b")
    account.memory.drop_table("b")

    class Late(MemoryInventory):
        async def tagged(self) -> list[Tagged]:
            return [remembered, msgspec.structs.replace(remembered, made=Made.TABLE)]

    account.here = Late(account.memory)
    assert (await account.search()).unclaimed == ()


async def test_without_the_right_to_list_buckets_their_age_is_not_told(account: Account) -> None:
    await account.provision("b")

    class Mute(MemoryInventory):
        async def buckets(self) -> Mapping[str, Instant]:
            raise Denied("s3:ListAllMyBuckets")

    account.here = Mute(account.memory)
    bucket, _ = (await account.search()).unclaimed
    assert (bucket.created, bucket.stream_ids) == (None, (ID,))


@pytest.mark.emulator
async def test_calls_are_one_for_all_and_then_a_few_for_each(emulator: str, unique: str) -> None:
    calls, io = Calls(), ThreadOffload(8)
    cloud = AwsCloud(
        AwsAccess(endpoint_url=emulator),
        io=io,
        cpu=io,
        clock=SystemClock(),
        entropy=SystemEntropy(),
        loopback=False,
        observer=calls,
    )
    spec = CaptureStreamSpec.model_validate({"storage": {"prefix": "p"}})
    for number in range(3):
        claimant = Claimant(unique, "team", str(number))
        names = Names(unique, "team", str(number), f"{unique}-{number}", "p/")
        owned = {"owned": False, "known_stream": None}
        for difference in bucket_differences(spec, names, None, **owned):  # type: ignore[arg-type]
            await cloud.provisioner(None).apply(difference.action)
        record = await claim(cloud.objects(names.bucket, spec.storage), "p/", claimant, SystemEntropy())
        for difference in table_differences(spec, names, names.bucket, record.stream_id, None):
            await cloud.provisioner(None).apply(difference.action)
    calls.made.clear()
    region = Region(cloud.inventory(None), lambda bucket: cloud.objects(bucket, spec.storage))
    found = await search(region, unique, [], None)
    io.close()
    assert sorted((one.tagged.made.value, one.owner) for one in found.unclaimed) == [
        (made, f"team/{number}") for made in ("Bucket", "Table") for number in range(3)
    ]
    assert calls.made == {
        "GetResources": 1,
        "ListBuckets": 1,
        **dict.fromkeys(("GetBucketLifecycleConfiguration", "GetObject", "DescribeTable"), 3),
    }
