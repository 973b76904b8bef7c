"""The AWS Lambda functions of a CaptureStream: rolled out, set right, stopped and taken away.

A package goes into the stream's own bucket under its hash. What a version does not survive is told in the
condition, and tried again; the version before goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from pik.api.capture_stream import CaptureStream
from pik.api.conditions import ConditionType
from pik.api.functions import FunctionSettings, URLAuthType
from pik.api.stream_status import CaptureStreamStatus, FunctionStatus
from pik.controller.naming import names_of
from pik.controller.told import is_settled
from pik.controller.workshop import OpenStream
from pik.controller.world import World
from pik.domain.errors import AlreadyExists, PikError, Unusable
from pik.planning.drift import Drifted, plan
from pik.planning.functions import (
    Code,
    CreateFunction,
    FunctionKind,
    ObservedFunction,
    SetConcurrency,
    Settings,
    UpdateCode,
    Wanted,
    code_key,
    function_differences,
    function_name,
    function_tags,
    is_ours,
)

_ENVIRONMENT_BYTES = 4_096
"""Of all variables of a function (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A function as it is now. `drift`: what was found otherwise. `error`: what keeps it from being as the
    spec wants it; a version that was live is so still."""

    kind: FunctionKind
    name: str
    function: ObservedFunction
    drift: Drifted
    error: PikError | None = None

    @property
    def status(self) -> FunctionStatus:
        live, url = self.function.live, self.function.url
        return FunctionStatus(
            name=self.kind,
            function=self.name,
            arn=None if live is None else self.function.live_arn,
            version=None if live is None else live.number,
            codeSHA256=None if live is None else live.version.sha256,
            url=None if url is None else url.url,
        )


def declared(resource: CaptureStream) -> dict[FunctionKind, FunctionSettings]:
    """The functions that the spec wants."""
    spec = resource.spec
    wanted: dict[FunctionKind, FunctionSettings | None] = {
        FunctionKind.INGEST: spec.ingest.lambda_,
        FunctionKind.REPLAY: None if spec.replay is None else spec.replay.lambda_,
        FunctionKind.PROCESSOR: spec.processing,
    }
    return {kind: settings for kind, settings in wanted.items() if settings is not None}


async def deployed(
    resource: CaptureStream, world: World, opened: OpenStream, kind: FunctionKind, environment: dict[str, str]
) -> Deployed:
    """The function, rolled out and set right, as far as that goes. Raises what keeps it from being looked at:
    `RoleNotAllowed`, `PackageMissing`, `OwnershipConflict`, `Unusable`, and what AWS says."""
    settings = declared(resource)[kind]
    world.roles.check_function_role(
        settings.roleARN,
        resource.metadata.namespace,
        settings.reservedConcurrency,
        open_url=_url(resource, kind) is URLAuthType.NONE,
    )
    wanted = await _wanted(resource, world, opened, kind, settings, environment)
    cloud = world.cloud.of(resource)
    provisioner = cloud.functions(resource.spec.storage.region)
    observed = await provisioner.function(wanted.name)
    found = plan(
        resource.spec.driftPolicy,
        function_differences(wanted, observed),
        settled=_is_settled(resource, kind, wanted),
    )
    error: PikError | None = None
    try:
        for action in found.actions:
            if isinstance(action, CreateFunction | UpdateCode):
                await _upload(world, opened, kind, settings, wanted.code)
            await provisioner.apply(action)
    except PikError as stopped:
        error = stopped
    if found.actions:
        observed = await provisioner.function(wanted.name)
    if observed is None:
        raise error or Unusable(f"the function {wanted.name} is not there")
    return Deployed(kind, wanted.name, observed, found.drift, error)


async def stopped(resource: CaptureStream, world: World, names: Iterable[str]) -> None:
    """No invocation of these begins any more; sources keep what they have. Raises what AWS says."""
    provisioner = world.cloud.of(resource).functions(resource.spec.storage.region)
    for name in names:
        there = await provisioner.function(name)
        if there is not None and there.concurrency != 0:
            await provisioner.apply(SetConcurrency(name, 0))


async def is_of_stream(resource: CaptureStream, world: World, stream_id: str, name: str) -> bool:
    """Whether there is a function of this name, made for this stream and its owner. Raises what AWS says."""
    tags = function_tags(names_of(resource, world), stream_id, None)
    there = await world.cloud.of(resource).functions(resource.spec.storage.region).function(name)
    return there is not None and is_ours(tags, there.tags)


def name_of(resource: CaptureStream, world: World, stream_id: str, kind: FunctionKind) -> str:
    return function_name(names_of(resource, world), stream_id, kind)


async def _wanted(
    resource: CaptureStream,
    world: World,
    opened: OpenStream,
    kind: FunctionKind,
    settings: FunctionSettings,
    environment: dict[str, str],
) -> Wanted:
    names = names_of(resource, world)
    size = len(msgspec.json.encode(environment))  # as AWS measures them
    if size > _ENVIRONMENT_BYTES:
        raise Unusable(
            f"the function {kind} would be told {size} bytes of this stream, and AWS Lambda takes "
            f"{_ENVIRONMENT_BYTES}: shorten spec.mapping, the measures or the list of sources"
        )
    digest = await world.packages.digest(kind, settings.architecture)
    return Wanted(
        name=function_name(names, opened.place.stream_id, kind),
        code=Code(opened.place.bucket, code_key(names, kind, settings, digest), digest),
        settings=Settings(
            settings.roleARN,
            settings.architecture,
            settings.memoryMiB,
            settings.timeoutSeconds,
            environment,
        ),
        tags=function_tags(names, opened.place.stream_id, resource.spec.storage.tags),
        concurrency=settings.reservedConcurrency,
        url=_url(resource, kind),
    )


def _url(resource: CaptureStream, kind: FunctionKind) -> URLAuthType | None:
    ingest = resource.spec.ingest.lambda_
    if kind is not FunctionKind.INGEST or ingest is None or ingest.url is None:
        return None
    return ingest.url.authType


def _is_settled(resource: CaptureStream, kind: FunctionKind, wanted: Wanted) -> bool:
    """Whether this spec was carried out before with this very package, so that what differs from it was
    changed by somebody else."""
    known, status = status_of(resource.status, kind), resource.status
    parts = [ConditionType.FUNCTIONS_READY]
    if kind is FunctionKind.INGEST and resource.spec.ingest.sources:
        parts.append(ConditionType.SOURCES_READY)  # it is told of each as it is made
    return (
        all(is_settled(status, part, resource.metadata.generation) for part in parts)
        and known is not None
        and known.codeSHA256 == wanted.code.sha256
    )


def status_of(status: CaptureStreamStatus, kind: FunctionKind) -> FunctionStatus | None:
    return next((each for each in status.functions if each.name == kind), None)


async def _upload(
    world: World, opened: OpenStream, kind: FunctionKind, settings: FunctionSettings, code: Code
) -> None:
    """Where it is not there yet."""
    package = await world.packages.read(kind, settings.architecture)
    try:
        await opened.stream.objects.create(code.key, package, "application/zip")
    except AlreadyExists:
        return
