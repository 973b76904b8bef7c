"""AWS Lambda functions of a stream: the same work as pik's own processes do, by another way in."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from pik.api.common import RoleARN, Value


class Architecture(StrEnum):
    X86_64 = "x86_64"
    ARM64 = "arm64"


class URLAuthType(StrEnum):
    IAM = "IAM"
    NONE = "None"


class FunctionURL(Value):
    authType: URLAuthType = Field(
        default=URLAuthType.IAM,
        description="IAM: callers sign their requests and may call the function. None: whoever knows the URL "
        "may.",
    )


class FunctionSettings(Value):
    roleARN: RoleARN = Field(
        description="ARN of the role that the function works with; `pik iam` prints its policy. The "
        "administrator's map of roles must have it, under functionRoles, for this namespace."
    )
    architecture: Architecture = Field(
        default=Architecture.X86_64, description="Processor of the function: x86_64 or arm64."
    )
    memoryMiB: Annotated[int, Field(ge=256, le=10_240)] = Field(
        default=1_024, description="Memory in MiB, of which its share of CPU follows."
    )
    timeoutSeconds: Annotated[int, Field(ge=5, le=900)] = Field(
        default=60, description="Seconds after which an invocation is ended."
    )
    reservedConcurrency: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="Most instances at once, which no other function can take away. Absent: what the account "
        "has left.",
    )


class IngestFunction(FunctionSettings):
    url: FunctionURL | None = Field(
        default=None,
        description="A Function URL, shown in status.functions. Absent: there is none, and events come by "
        "sources, or by an API that calls the function.",
    )
