"""An answer whose body ends too soon is no answer, whatever botocore would make of it."""

from __future__ import annotations

import pytest

from faults.policy import Fault, Kind, nothing, script
from faults.proxy import faulty
from pik.aws.clients import AwsAccess, AwsClients
from pik.aws.errors import call
from pik.domain.errors import Unavailable
from pik.memory.system import InlineOffload

CUT = Fault(Kind.TRUNCATE)


@pytest.mark.emulator
async def test_half_an_answer_is_asked_for_again_and_never_taken_for_a_whole_one(
    emulator: str, unique: str
) -> None:
    with faulty(emulator, nothing) as proxy:
        clients = AwsClients(AwsAccess(endpoint_url=proxy.endpoint))
        s3, dynamodb, io = clients.client("s3"), clients.client("dynamodb"), InlineOffload()
        s3.create_bucket(Bucket=unique)
        s3.put_object(Bucket=unique, Key="a")
        proxy.numbers.clear()
        proxy.policy = script({"dynamodb.ListTables": [CUT, CUT], "s3.GET": [CUT]})
        assert "TableNames" in await call(io, dynamodb.list_tables)
        assert proxy.numbers["dynamodb.ListTables"] == 3
        listed = await call(io, s3.list_objects_v2, Bucket=unique)
        assert [each["Key"] for each in listed["Contents"]] == ["a"]
        proxy.policy = lambda _: CUT
        with pytest.raises(Unavailable, match="bytes came"):
            await call(io, dynamodb.list_tables)
        with pytest.raises(Unavailable, match="bytes came"):
            await call(io, s3.list_objects_v2, Bucket=unique)
        with pytest.raises(Unavailable, match="bytes came"):  # and not AWSRefused, for a bare 404
            await call(io, s3.get_object, Bucket=unique, Key="there is none")
        head = s3.head_object  # has a length and no body
        proxy.policy = nothing
        assert (await call(io, head, Bucket=unique, Key="a"))["ContentLength"] == 0
