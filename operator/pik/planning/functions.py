"""What has to be done so that an AWS Lambda function is as a stream wants it. Pure.

Code is uploaded by its hash and named by it. A change goes to the function's newest state first, is published
as a version, and is asked whether it is well; only then the alias `live`, which is all that callers and
sources see, moves to it. A version that is not well never gets an event, and the one before stays.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256

import msgspec

from pik.api.functions import FunctionSettings, URLAuthType
from pik.domain.errors import OwnershipConflict
from pik.planning.drift import Difference
from pik.planning.storage import OWNER_TAG, STREAM_TAG, Names, owner_tag, readable

ALIAS = "live"
HANDLER = "handler.handle"
RUNTIME = "python3.13"
_NAME = 64  # characters of a function's name


class FunctionKind(StrEnum):
    """As the folders under `lambdas/` are called."""

    INGEST = "ingest"
    REPLAY = "replay"
    PROCESSOR = "processor"


class Code(msgspec.Struct, frozen=True):
    """A package in a bucket. `sha256`: of its bytes, in hex."""

    bucket: str
    key: str
    sha256: str


class Settings(msgspec.Struct, frozen=True):
    """Of one version of a function, beside its code."""

    role: str
    architecture: str
    memory_mib: int
    timeout_seconds: int
    environment: dict[str, str]
    runtime: str = RUNTIME
    handler: str = HANDLER


class Version(msgspec.Struct, frozen=True):
    """Of a function: what it is made of. `sha256`: of its code, in hex."""

    sha256: str
    settings: Settings


class Wanted(msgspec.Struct, frozen=True):
    """`concurrency`: reserved; 0 stops it, None takes what the account has. `url`: None: there is none."""

    name: str
    code: Code
    settings: Settings
    tags: dict[str, str]
    concurrency: int | None = None
    url: URLAuthType | None = None

    @property
    def version(self) -> Version:
        return Version(self.code.sha256, self.settings)


class Live(msgspec.Struct, frozen=True):
    """The version that callers see."""

    number: str
    version: Version


class ObservedURL(msgspec.Struct, frozen=True):
    """`open`: whether whoever the auth type lets in may call it."""

    url: str
    auth: URLAuthType
    open: bool


class ObservedFunction(msgspec.Struct, frozen=True):
    """A function as it is. `arn`: without a version."""

    arn: str
    newest: Version
    tags: dict[str, str]
    live: Live | None = None
    concurrency: int | None = None
    url: ObservedURL | None = None

    @property
    def name(self) -> str:
        return self.arn.rsplit(":", 1)[1]

    @property
    def live_arn(self) -> str:
        return f"{self.arn}:{ALIAS}"


# Actions. Each may be done again.


class CreateFunction(msgspec.Struct, frozen=True, tag=True):
    function: str
    code: Code
    settings: Settings
    tags: dict[str, str]


class UpdateCode(msgspec.Struct, frozen=True, tag=True):
    function: str
    code: Code
    architecture: str


class UpdateSettings(msgspec.Struct, frozen=True, tag=True):
    function: str
    settings: Settings


class Release(msgspec.Struct, frozen=True, tag=True):
    """Publish the newest state, ask it whether it is well, and let the alias name it. Raises
    `FunctionUnhealthy`, and then the alias stays."""

    function: str
    sha256: str


class SetConcurrency(msgspec.Struct, frozen=True, tag=True):
    function: str
    reserved: int | None


class SetURL(msgspec.Struct, frozen=True, tag=True):
    function: str
    auth: URLAuthType


class RemoveURL(msgspec.Struct, frozen=True, tag=True):
    function: str


class SetFunctionTags(msgspec.Struct, frozen=True, tag=True):
    function: str
    tags: dict[str, str]


FunctionAction = (
    CreateFunction
    | UpdateCode
    | UpdateSettings
    | Release
    | SetConcurrency
    | SetURL
    | RemoveURL
    | SetFunctionTags
)


def function_name(names: Names, stream_id: str, kind: FunctionKind) -> str:
    """The same every time, and no other stream's."""
    end = f"-{stream_id[:12]}-{kind}"
    return f"pik-{readable(f'{names.namespace}-{names.name}', _NAME - 4 - len(end))}{end}"


def code_key(names: Names, kind: FunctionKind, settings: FunctionSettings, digest: str) -> str:
    """Where a package lies in the stream's bucket."""
    return f"{names.prefix}functions/{kind}-{settings.architecture}-{digest}.zip"


def code_digest(package: bytes) -> str:
    return sha256(package).hexdigest()


def function_tags(names: Names, stream_id: str, tags: dict[str, str] | None) -> dict[str, str]:
    """The tags of whatever is made for a stream."""
    return {**(tags or {}), OWNER_TAG: owner_tag(names.owner), STREAM_TAG: stream_id}


def function_differences(
    wanted: Wanted, observed: ObservedFunction | None
) -> list[Difference[FunctionAction]]:
    """What is not as it is wanted, in the order in which it is to be set right. Raises `OwnershipConflict`
    where the name is taken by something else."""
    name = wanted.name
    if observed is None:
        create = CreateFunction(name, wanted.code, wanted.settings, wanted.tags)
        fresh = ObservedFunction("", wanted.version, wanted.tags)
        return [Difference(name, "function", create), *function_differences(wanted, fresh)]
    check_owner(name, wanted.tags, observed.tags)
    same_code = observed.newest.sha256 == wanted.code.sha256
    differences: list[tuple[str, bool, FunctionAction]] = [
        ("tags", wanted.tags.items() <= observed.tags.items(), SetFunctionTags(name, wanted.tags)),
        # what shuts comes before what may fail, and what opens after it; nothing that is stopped can be asked
        (
            "reservedConcurrency",
            observed.concurrency == wanted.concurrency,
            SetConcurrency(name, wanted.concurrency),
        ),
        *(() if wanted.url is not None else (("url", observed.url is None, RemoveURL(name)),)),
        (
            "code",
            same_code and observed.newest.settings.architecture == wanted.settings.architecture,
            UpdateCode(name, wanted.code, wanted.settings.architecture),
        ),
        ("settings", observed.newest.settings == wanted.settings, UpdateSettings(name, wanted.settings)),
        (
            "version",
            observed.live is not None and observed.live.version == wanted.version,
            Release(name, wanted.code.sha256),
        ),
        *(() if wanted.url is None else (("url", _is_open(wanted.url, observed), SetURL(name, wanted.url)),)),
    ]
    return [Difference(name, field, action) for field, right, action in differences if not right]


def check_owner(name: str, wanted: dict[str, str], there: dict[str, str]) -> None:
    """Raises `OwnershipConflict` where what there is was not made for this stream."""
    if there.get(STREAM_TAG) != wanted[STREAM_TAG]:
        whose = there.get(OWNER_TAG, "nobody who uses pik")
        raise OwnershipConflict(f"there is a {name} already, and it is of {whose}")


def is_ours(tags: dict[str, str], there: dict[str, str]) -> bool:
    """Whether what there is was made for this stream by this owner: a stream that was taken over has the same
    names."""
    return all(there.get(tag) == tags[tag] for tag in (STREAM_TAG, OWNER_TAG))


def _is_open(wanted: URLAuthType, observed: ObservedFunction) -> bool:
    there = observed.url
    return there is not None and there.auth is wanted and there.open
