"""AWS Lambda functions of one account and region, read back and set right.

docs.aws.amazon.com/lambda/latest/dg/functions-states.html: a function that is being made or changed takes no
other change until that has ended.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, assert_never

import msgspec

from pik.api.functions import URLAuthType
from pik.aws.errors import call, is_code
from pik.domain.errors import FunctionUnhealthy, PikError, Unavailable, Unusable
from pik.planning.functions import (
    ALIAS,
    CreateFunction,
    FunctionAction,
    Live,
    ObservedFunction,
    ObservedURL,
    Release,
    RemoveURL,
    SetConcurrency,
    SetFunctionTags,
    Settings,
    SetURL,
    UpdateCode,
    UpdateSettings,
    Version,
)
from pik.ports.system import Clock, Offload

_WAITS = (0.2, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)  # seconds between two looks at a change under way
_NOT_FOUND = "ResourceNotFoundException"
_CONFLICT = "ResourceConflictException"
_KEPT = 2  # versions: the live one, and the one before
_CHECK = b'{"pik":"health"}'
_AUTH = {"AWS_IAM": URLAuthType.IAM, "NONE": URLAuthType.NONE}
_OPEN = ("pik-url", "pik-invoke")  # ids of the two statements that a URL for everybody needs


class AwsFunctions:
    """`ports.FunctionProvisioner`. `client`: of the service lambda."""

    def __init__(self, client: Any, io: Offload, clock: Clock) -> None:
        self._client = client
        self._io = io
        self._clock = clock

    async def function(self, name: str) -> ObservedFunction | None:
        found = await self._found(self._client.get_function, FunctionName=name)
        if found is None:
            return None
        there = found["Configuration"]
        if there.get("State") == "Failed":
            raise Unusable(f"AWS could not make the function {name}: {there.get('StateReason', '')}")
        if not _is_settled(there):
            raise Unavailable(f"the function {name} is being made or changed")
        alias = await self._found(self._client.get_alias, FunctionName=name, Name=ALIAS)
        live = url = None
        if alias is not None:
            number = alias["FunctionVersion"]
            of_it = await self._call(
                self._client.get_function_configuration, FunctionName=name, Qualifier=number
            )
            live = Live(number, _version(of_it))
            url = await self._url(name)
        return ObservedFunction(
            arn=_unqualified(there["FunctionArn"], name),
            newest=_version(there),
            tags=found.get("Tags", {}),
            live=live,
            concurrency=found.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
            url=url,
        )

    async def apply(self, action: FunctionAction) -> None:
        name = action.function
        match action:
            case CreateFunction():
                await self._create(action)
            case UpdateCode():
                await self._call(
                    self._client.update_function_code,
                    FunctionName=name,
                    S3Bucket=action.code.bucket,
                    S3Key=action.code.key,
                    Architectures=[action.architecture],
                )
                await self._until_settled(name, action.code.sha256)
            case UpdateSettings():
                await self._call(
                    self._client.update_function_configuration,
                    FunctionName=name,
                    **_configuration(action.settings),
                )
                await self._until_settled(name)
            case Release():
                await self._release(name, action.sha256)
            case SetConcurrency(reserved=None):
                await self._call(self._client.delete_function_concurrency, FunctionName=name)
            case SetConcurrency():
                await self._call(
                    self._client.put_function_concurrency,
                    FunctionName=name,
                    ReservedConcurrentExecutions=action.reserved,
                )
            case SetURL():
                await self._set_url(name, action.auth)
            case RemoveURL():
                await self._shut(name)
                await self._found(self._client.delete_function_url_config, FunctionName=name, Qualifier=ALIAS)
            case SetFunctionTags():
                arn = (await self._call(self._client.get_function_configuration, FunctionName=name))[
                    "FunctionArn"
                ]
                await self._call(
                    self._client.tag_resource, Resource=_unqualified(arn, name), Tags=action.tags
                )
            case _:
                assert_never(action)

    async def delete_function(self, name: str) -> None:
        await self._found(self._client.delete_function, FunctionName=name)

    async def _create(self, action: CreateFunction) -> None:
        await self._call(
            self._client.create_function,
            FunctionName=action.function,
            Code={"S3Bucket": action.code.bucket, "S3Key": action.code.key},
            Architectures=[action.settings.architecture],
            Tags=action.tags,
            PackageType="Zip",
            **_configuration(action.settings),
        )
        await self._until_settled(action.function, action.code.sha256)

    async def _until_settled(self, name: str, sha256: str | None = None, version: str = "$LATEST") -> None:
        """`sha256`: that its code has to have: not every maker of Lambda refuses a package that it could not
        read."""
        for seconds in _WAITS:
            there = await self._call(
                self._client.get_function_configuration, FunctionName=name, Qualifier=version
            )
            if _is_settled(there):
                if there.get("LastUpdateStatus") == "Failed":
                    raise Unusable(f"AWS could not change {name}: {there.get('LastUpdateStatusReason', '')}")
                if sha256 not in (None, _hex(there["CodeSha256"])):
                    raise Unusable(f"the code of {name} is {_hex(there['CodeSha256'])}, and not {sha256}")
                return
            await self._clock.sleep(seconds)
        raise Unavailable(f"the function {name} is still being made or changed")

    async def _release(self, name: str, sha256: str) -> None:
        encoded = b64encode(bytes.fromhex(sha256)).decode()
        made = await self._call(self._client.publish_version, FunctionName=name, CodeSha256=encoded)
        number = made["Version"]
        await self._until_settled(name, version=number)
        await self._check(name, number)
        before = await self._found(self._client.get_alias, FunctionName=name, Name=ALIAS)
        write = self._client.create_alias if before is None else self._client.update_alias
        whole: dict[str, Any] = {} if before is None else {"RoutingConfig": {"AdditionalVersionWeights": {}}}
        await self._call(write, FunctionName=name, Name=ALIAS, FunctionVersion=number, **whole)
        await self._forget(name, {number, "" if before is None else before["FunctionVersion"]})

    async def _check(self, name: str, number: str) -> None:
        def ask() -> tuple[str | None, bytes]:
            answer = self._client.invoke(FunctionName=name, Qualifier=number, Payload=_CHECK)
            return answer.get("FunctionError"), answer["Payload"].read()

        failed, said = await self._call(ask)
        if failed is not None:
            raise FunctionUnhealthy(
                f"version {number} of {name} is not well, and gets no events: {_why(said)}"
            )

    async def _forget(self, name: str, kept: set[str]) -> None:
        """Versions that nothing needs any more, since an account's packages have a bound together."""
        numbers: list[int] = []
        request = {"FunctionName": name}
        while True:
            page = await self._call(self._client.list_versions_by_function, **request)
            numbers += [int(each["Version"]) for each in page["Versions"] if each["Version"] != "$LATEST"]
            if not page.get("NextMarker"):
                break
            request["Marker"] = page["NextMarker"]
        for number in sorted(numbers)[:-_KEPT]:
            if str(number) not in kept:
                await self._found(self._client.delete_function, FunctionName=name, Qualifier=str(number))

    async def _url(self, name: str) -> ObservedURL | None:
        found = await self._found(self._client.get_function_url_config, FunctionName=name, Qualifier=ALIAS)
        if found is None:
            return None
        auth = _AUTH[found["AuthType"]]
        policy = await self._found(self._client.get_policy, FunctionName=name, Qualifier=ALIAS)
        ids = set() if policy is None else _statements(policy["Policy"])
        is_open = ids >= set(_OPEN) if auth is URLAuthType.NONE else not ids & set(_OPEN)
        return ObservedURL(found["FunctionUrl"], auth, is_open)

    async def _set_url(self, name: str, auth: URLAuthType) -> None:
        """The address first shut to strangers, and last opened to them."""
        there = {"FunctionName": name, "Qualifier": ALIAS}
        kind = next(word for word, known in _AUTH.items() if known is auth)
        await self._shut(name)
        before = await self._found(self._client.get_function_url_config, **there)
        write = (
            self._client.create_function_url_config
            if before is None
            else self._client.update_function_url_config
        )
        await self._call(write, **there, AuthType=kind)
        if auth is URLAuthType.NONE:
            by_url, invoke = _OPEN
            everybody = {**there, "Principal": "*"}
            await self._call(
                self._client.add_permission,
                **everybody,
                StatementId=by_url,
                Action="lambda:InvokeFunctionUrl",
                FunctionUrlAuthType="NONE",
            )
            await self._call(
                self._client.add_permission,
                **everybody,
                StatementId=invoke,
                Action="lambda:InvokeFunction",
                InvokedViaFunctionUrl=True,
            )

    async def _shut(self, name: str) -> None:
        policy = await self._found(self._client.get_policy, FunctionName=name, Qualifier=ALIAS)
        for statement in sorted(set() if policy is None else _statements(policy["Policy"]) & set(_OPEN)):
            await self._found(
                self._client.remove_permission, FunctionName=name, Qualifier=ALIAS, StatementId=statement
            )

    async def _call(self, method: Any, **request: Any) -> Any:
        try:
            return await call(self._io, method, **request)
        except PikError as error:
            if is_code(error, _CONFLICT):
                raise Unavailable(f"another change of it is under way: {error}") from error
            raise

    async def _found(self, method: Any, **request: Any) -> Any:
        """None where there is no such thing."""
        try:
            return await self._call(method, **request)
        except PikError as error:
            if is_code(error, _NOT_FOUND):
                return None
            raise


def _configuration(settings: Settings) -> dict[str, Any]:
    return {
        "Runtime": settings.runtime,
        "Handler": settings.handler,
        "Role": settings.role,
        "MemorySize": settings.memory_mib,
        "Timeout": settings.timeout_seconds,
        "Environment": {"Variables": settings.environment},
    }


def _version(there: dict[str, Any]) -> Version:
    settings = Settings(
        role=there["Role"],
        architecture=there.get("Architectures", ["x86_64"])[0],
        memory_mib=there["MemorySize"],
        timeout_seconds=there["Timeout"],
        environment=there.get("Environment", {}).get("Variables", {}),
        runtime=there["Runtime"],
        handler=there["Handler"],
    )
    return Version(_hex(there["CodeSha256"]), settings)


def _is_settled(there: dict[str, Any]) -> bool:
    return there.get("State") != "Pending" and there.get("LastUpdateStatus") != "InProgress"


def _hex(sha256: str) -> str:
    return b64decode(sha256).hex()


def _unqualified(arn: str, name: str) -> str:
    return arn[: arn.index(f":function:{name}")] + f":function:{name}"


def _statements(policy: str) -> set[str]:
    document = msgspec.json.decode(policy)
    return {statement.get("Sid", "") for statement in document.get("Statement", [])}


def _why(said: bytes) -> str:
    """What a function that failed says of it, without the rest of its words."""
    try:
        document = msgspec.json.decode(said)
    except msgspec.DecodeError:
        return said[:300].decode(errors="replace")
    return (
        str(document.get("errorMessage", document))[:500]
        if isinstance(document, dict)
        else str(document)[:300]
    )
