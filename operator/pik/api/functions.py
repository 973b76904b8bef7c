"""AWS Lambda functions of a stream: the same work as pik's own processes do, by another way in."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from pik.api.aggregate_version import Measure, TimeBucket, TimeZone
from pik.api.common import SET, RoleARN, SqlCondition, SqlExpression, Value, list_map
from pik.api.replay_job import StaleAction
from pik.api.rules import Rule, rules
from pik.api.targets import QueueURL


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


class ReplayFunction(FunctionSettings):
    queueURL: QueueURL | None = Field(
        default=None,
        description="URL of the SQS queue that it sends to. Absent: that of processing, which is required "
        "then.",
    )
    maxEvents: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="Most events of one call; for more it names the ReplayJob to apply."
    )
    maxMiB: Annotated[int, Field(ge=1, le=1_024)] = Field(
        default=64, description="Most payload of one call, in MiB."
    )
    onStale: StaleAction = Field(
        default=StaleAction.SEND,
        description="As in a ReplayJob: entities with newer events outside the slice.",
    )


class Replay(Value):
    lambda_: ReplayFunction = Field(
        alias="lambda",
        description="An AWS Lambda function that replays an entity's events into a queue when it is called.",
    )


class Processing(FunctionSettings):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule("self.bucket != 'Window'", "must be a time bucket: a processor has no window", "bucket")
        )
    )

    timezone: TimeZone = Field(
        default="UTC", description="IANA time zone that buckets follow, as in an AggregateVersion."
    )
    bucket: TimeBucket = Field(
        description="Length of a time bucket in that zone, Minute to Month: what is computed at once."
    )
    groupBy: Annotated[tuple[SqlExpression, ...], Field(min_length=1, max_length=16)] | None = Field(
        default=None,
        description="As in an AggregateVersion: what divides a bucket's events. Absent: one row a bucket.",
        json_schema_extra=SET,
    )
    measures: Annotated[tuple[Measure, ...], Field(min_length=1, max_length=32)] = Field(
        description="As in an AggregateVersion: what is computed for each bucket and group.",
        json_schema_extra=list_map("name"),
    )
    where: SqlCondition | None = Field(
        default=None, description="As in an AggregateVersion: condition that events must meet. Absent: all."
    )
    maxReceiveCount: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=5,
        description="How often a message that is not processed is tried before it goes to the dead-letter "
        "queue.",
    )
    batchSize: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="Most messages of one invocation: their buckets are computed once."
    )


class IngestFunction(FunctionSettings):
    url: FunctionURL | None = Field(
        default=None,
        description="A Function URL, shown in status.functions. Absent: there is none, and events come by "
        "sources, or by an API that calls the function.",
    )
