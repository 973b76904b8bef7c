"""What the work may expect of whoever makes functions: a version gets callers only when it is well."""

from __future__ import annotations

import io as files
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest

from contract.conftest import BOTH
from pik.api.functions import URLAuthType
from pik.aws.functions import AwsFunctions
from pik.aws.system import SystemClock
from pik.domain.errors import FunctionUnhealthy, OwnershipConflict, Unusable
from pik.memory.functions import MemoryFunctions, MemoryLambda
from pik.planning.functions import (
    Code,
    ObservedFunction,
    Settings,
    Wanted,
    code_digest,
    function_differences,
)
from pik.planning.storage import STREAM_TAG
from pik.ports.functions import FunctionProvisioner

ROLE = "arn:aws:iam::000000000000:role/ingest"
HANDLER = """
import os
def handle(event, context):
    if "AILING" in os.environ:
        raise ValueError("it is not well: " + os.environ["AILING"])
    return {"n": NUMBER}
"""


def zipped(number: int) -> bytes:
    buffer = files.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("handler.py"), HANDLER.replace("NUMBER", str(number)))
    return buffer.getvalue()


@dataclass
class Functions:
    provisioner: FunctionProvisioner
    name: str
    upload: Callable[[bytes], Code]

    def wanted(self, code: Code, ailing: str | None = None, **more: object) -> Wanted:
        environment = {"A": "1"} if ailing is None else {"AILING": ailing}
        settings = Settings(ROLE, "x86_64", 256, 30, environment)
        return msgspec.structs.replace(
            Wanted(self.name, code, settings, {STREAM_TAG: "5" * 32, "pik.dev/owner": "me"}), **more
        )

    async def settle(self, wanted: Wanted) -> list[str]:
        fields = []
        for difference in function_differences(wanted, await self.provisioner.function(self.name)):
            fields.append(difference.field)
            await self.provisioner.apply(difference.action)
        return fields

    async def there(self) -> ObservedFunction:
        found = await self.provisioner.function(self.name)
        assert found is not None
        return found


@pytest.fixture(params=BOTH)
def functions(request: pytest.FixtureRequest, unique: str) -> Functions:
    if request.param == "memory":
        account = MemoryLambda(packages=set())
        packages = account.packages
        assert packages is not None

        def ailing(version: object) -> str | None:
            why = version.settings.environment.get("AILING")  # type: ignore[attr-defined]
            return None if why is None else f"it is not well: {why}"

        account.ailing = ailing

        def keep(package: bytes) -> Code:
            code = Code(unique, f"{code_digest(package)}.zip", code_digest(package))
            packages.add(code.key)
            return code

        return Functions(MemoryFunctions(account), unique, keep)
    clients = request.getfixturevalue("clients")
    s3 = clients.client("s3")
    s3.create_bucket(Bucket=unique)

    def put(package: bytes) -> Code:
        code = Code(unique, f"{code_digest(package)}.zip", code_digest(package))
        s3.put_object(Bucket=unique, Key=code.key, Body=package)
        return code

    provisioner = AwsFunctions(clients.client("lambda"), request.getfixturevalue("io"), SystemClock())
    return Functions(provisioner, unique, put)


async def test_it_is_made_and_released_and_then_as_it_should_be(functions: Functions) -> None:
    assert await functions.provisioner.function(functions.name) is None
    wanted = functions.wanted(functions.upload(zipped(1)))
    assert await functions.settle(wanted) == ["function", "version"]
    there = await functions.there()
    assert there.newest == wanted.version
    assert there.live is not None
    assert there.live.version == wanted.version
    assert there.live_arn.endswith(f":function:{functions.name}:live")
    assert await functions.settle(wanted) == []


async def test_new_code_and_new_settings_become_a_version_of_their_own(functions: Functions) -> None:
    first = functions.wanted(functions.upload(zipped(1)))
    await functions.settle(first)
    old = (await functions.there()).live
    second = functions.wanted(functions.upload(zipped(2)))
    assert await functions.settle(second) == ["code", "version"]
    new = (await functions.there()).live
    assert old is not None
    assert new is not None
    assert (new.number != old.number, new.version) == (True, second.version)
    third = msgspec.structs.replace(second, settings=msgspec.structs.replace(second.settings, memory_mib=512))
    assert await functions.settle(third) == ["settings", "version"]
    assert (await functions.there()).live.version == third.version  # type: ignore[union-attr]


async def test_what_is_not_well_gets_no_callers_and_the_one_before_stays(functions: Functions) -> None:
    first = functions.wanted(functions.upload(zipped(1)))
    await functions.settle(first)
    live = (await functions.there()).live
    bad = functions.wanted(functions.upload(zipped(2)), ailing="no table")
    with pytest.raises(FunctionUnhealthy, match="it is not well: no table"):
        await functions.settle(bad)
    there = await functions.there()
    assert (there.live, there.newest) == (live, bad.version)
    with pytest.raises(FunctionUnhealthy):
        await functions.settle(bad)
    assert await functions.settle(first) == ["code", "settings"]  # that version is live all the time
    assert (await functions.there()).live.version == first.version  # type: ignore[union-attr]


async def test_the_first_version_has_to_be_well_too(functions: Functions) -> None:
    with pytest.raises(FunctionUnhealthy):
        await functions.settle(functions.wanted(functions.upload(zipped(1)), ailing="x"))
    assert (await functions.there()).live is None


async def test_code_that_did_not_arrive_is_no_function(functions: Functions) -> None:
    missing = Code(functions.name, "no-such.zip", "0" * 64)
    functions.upload(zipped(1))
    with pytest.raises(Unusable, match="code"):
        await functions.settle(functions.wanted(missing))


async def test_concurrency_and_url_are_set_changed_and_taken_away(functions: Functions) -> None:
    code = functions.upload(zipped(1))
    await functions.settle(functions.wanted(code, concurrency=3, url=URLAuthType.IAM))
    there = await functions.there()
    assert there.concurrency == 3
    assert there.url is not None
    assert (there.url.auth, there.url.open) == (URLAuthType.IAM, True)
    assert there.url.url.startswith("https://")
    everybody = functions.wanted(code, concurrency=0, url=URLAuthType.NONE)
    assert await functions.settle(everybody) == ["reservedConcurrency", "url"]
    assert await functions.settle(everybody) == []
    assert (await functions.there()).concurrency == 0
    assert await functions.settle(functions.wanted(code)) == ["reservedConcurrency", "url"]
    there = await functions.there()
    assert (there.concurrency, there.url) == (None, None)


async def test_what_is_another_streams_is_left_alone(functions: Functions) -> None:
    wanted = functions.wanted(functions.upload(zipped(1)))
    await functions.settle(wanted)
    other = msgspec.structs.replace(wanted, tags={**wanted.tags, STREAM_TAG: "6" * 32})
    with pytest.raises(OwnershipConflict, match="of me"):
        await functions.settle(other)


async def test_it_is_deleted_whole_and_again(functions: Functions) -> None:
    await functions.settle(functions.wanted(functions.upload(zipped(1)), url=URLAuthType.NONE))
    await functions.provisioner.delete_function(functions.name)
    await functions.provisioner.delete_function(functions.name)
    assert await functions.provisioner.function(functions.name) is None
