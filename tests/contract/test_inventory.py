"""What the work may expect of an inventory: all that has pik's tags, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from aws.calls import Calls
from contract.conftest import BOTH
from pik.api.capture_stream import CaptureStreamSpec
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.inventory import AwsInventory
from pik.aws.provisioner import AwsProvisioner
from pik.aws.system import SystemClock, ThreadOffload
from pik.memory.inventory import MemoryInventory
from pik.memory.provisioning import MemoryAccount, MemoryProvisioner
from pik.planning.storage import (
    OWNER_TAG,
    STREAM_TAG,
    CreateBucket,
    CreateTable,
    Names,
    bucket_differences,
    table_differences,
)
from pik.planning.unclaimed import Made, Tagged
from pik.ports.inventory import Inventory
from pik.ports.provisioning import StorageProvisioner

STREAM = "5" * 32
SPEC = CaptureStreamSpec.model_validate({"storage": {"prefix": "p"}})


class Away:
    """A tagging API that is not to be had."""

    def __init__(self, client: Any, code: str) -> None:
        self._client, self._code = client, code

    def get_resources(self, **_: Any) -> Any:
        raise self._client.exceptions.ClientError({"Error": {"Code": self._code}}, "GetResources")


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture(params=[*BOTH, pytest.param("listed", marks=pytest.mark.emulator)])
def account(request: pytest.FixtureRequest, calls: Calls) -> tuple[Inventory, StorageProvisioner]:
    """`listed`: without the tagging API."""
    if request.param == "memory":
        memory = MemoryAccount()
        return MemoryInventory(memory), MemoryProvisioner(memory)
    io: ThreadOffload = request.getfixturevalue("io")
    access = AwsAccess(endpoint_url=request.getfixturevalue("emulator"), connections=16)
    clients = AwsClients(access, calls)
    s3, dynamodb = clients.client("s3"), clients.client("dynamodb")
    tagging = clients.client("resourcegroupstaggingapi")
    if request.param == "listed":
        tagging = Away(tagging, "AccessDeniedException")
    return AwsInventory(s3, dynamodb, tagging, io), AwsProvisioner(s3, dynamodb, io, SystemClock())


async def provision(provisioner: StorageProvisioner, name: str) -> None:
    names = Names("home", "team", "things", name, "p/")
    for difference in (
        *bucket_differences(SPEC, names, None, owned=False, known_stream=None),
        *table_differences(SPEC, names, name, STREAM, None),
    ):
        await provisioner.apply(difference.action)


async def test_all_that_has_our_tags_and_nothing_else(
    account: tuple[Inventory, StorageProvisioner], unique: str
) -> None:
    inventory, provisioner = account
    await provision(provisioner, unique)
    await provisioner.apply(CreateBucket(f"{unique}-other", object_lock=False))
    await provisioner.apply(CreateTable(f"{unique}-other", {"team": "ops"}, protected=False))
    found = [one for one in await inventory.tagged() if one.name.startswith(unique)]
    assert [(one.made, one.name, one.stream_id) for one in found] == [
        (Made.BUCKET, unique, None),
        (Made.TABLE, unique, STREAM),
    ]
    assert {one.tags[OWNER_TAG] for one in found} == {"home/team/things"}
    assert {one.region for one in found} == {inventory.region}
    assert unique in await inventory.buckets()
    assert await inventory.rules(unique) == ["pik:p/"]
    assert await inventory.rules(f"{unique}-other") == []
    assert await inventory.rules(f"{unique}-none") is None
    facts = await inventory.table(unique)
    assert facts is not None
    assert facts.entries == 0
    assert await inventory.table(f"{unique}-none") is None


@pytest.mark.emulator
@pytest.mark.parametrize("account", ["aws"], indirect=True)
async def test_by_tags_a_page_of_resources_is_one_call(
    account: tuple[Inventory, StorageProvisioner], calls: Calls, unique: str
) -> None:
    inventory, provisioner = account
    await provision(provisioner, unique)
    calls.made.clear()
    await inventory.tagged()
    assert calls.made == {"GetResources": 1}


def stubbed(service: str) -> tuple[Any, Stubber]:
    client: Any = AwsClients(AwsAccess(endpoint_url="http://127.0.0.1:1")).client(service)  # type: ignore[call-overload]
    return client, Stubber(client)


def resource(arn: str) -> dict[str, Any]:
    return {"ResourceARN": arn, "Tags": [{"Key": OWNER_TAG, "Value": "o"}, {"Key": STREAM_TAG, "Value": "s"}]}


async def test_by_tags_to_the_last_page(io: ThreadOffload) -> None:
    """The emulator has one page, however many there are."""
    (s3, _), (dynamodb, _), (tagging, stub) = (
        stubbed(name) for name in ("s3", "dynamodb", "resourcegroupstaggingapi")
    )
    first = {
        "TagFilters": [{"Key": OWNER_TAG}],
        "ResourceTypeFilters": ["s3", "dynamodb:table"],
        "ResourcesPerPage": ANY,
    }
    arns = [
        "arn:aws:s3:::b",
        "arn:aws:s3:eu-west-1:000000000000:accesspoint/some",
        "arn:aws-cn:dynamodb:cn-north-1:000000000000:table/t",
    ]
    for number, arn in enumerate(arns):
        request = first if number == 0 else {**first, "PaginationToken": str(number)}
        more = {"PaginationToken": str(number + 1) if number < len(arns) - 1 else ""}
        stub.add_response("get_resources", {"ResourceTagMappingList": [resource(arn)], **more}, request)
    tags = {OWNER_TAG: "o", STREAM_TAG: "s"}
    with stub:
        assert await AwsInventory(s3, dynamodb, tagging, io).tagged() == [
            Tagged(Made.BUCKET, "b", "us-east-1", tags),
            Tagged(Made.TABLE, "t", "cn-north-1", tags),
        ]
    stub.assert_no_pending_responses()


async def test_buckets_to_the_last_page_and_of_this_region_alone(io: ThreadOffload) -> None:
    s3, stub = stubbed("s3")
    dynamodb, tables = stubbed("dynamodb")
    tagging, _ = stubbed("resourcegroupstaggingapi")

    def page(name: str, region: str) -> dict[str, Any]:
        return {"Buckets": [{"Name": name, "CreationDate": "2026-03-01T12:00:00Z", "BucketRegion": region}]}

    first, last = {"MaxBuckets": ANY}, {"MaxBuckets": ANY, "ContinuationToken": "more"}
    stub.add_response("list_buckets", {**page("away", "eu-west-1"), "ContinuationToken": "more"}, first)
    stub.add_response("list_buckets", page("here", "us-east-1"), last)
    stub.add_client_error("get_bucket_tagging", "NoSuchTagSet", expected_params={"Bucket": "here"})
    tables.add_response("list_tables", {"TableNames": []}, {})
    with stub, tables:
        found = await AwsInventory(s3, dynamodb, Away(tagging, "UnknownOperationException"), io).tagged()
    assert found == []
    stub.assert_no_pending_responses()
