"""Where a replay sends to. Each type has a member of its own, named by `type`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from pik.api.common import SET, BucketName, KeyPrefix, SecretRef, Value
from pik.api.headers import HeaderNames
from pik.api.rules import Rule, rules


class TargetType(StrEnum):
    SQS = "SQS"
    HTTP = "HTTP"
    S3 = "S3"
    KINESIS = "Kinesis"
    EVENT_BRIDGE = "EventBridge"
    LAMBDA = "Lambda"


class S3Format(StrEnum):
    PARQUET = "Parquet"
    NDJSON = "NDJSON"


class Invocation(StrEnum):
    REQUEST_RESPONSE = "RequestResponse"
    EVENT = "Event"


DEFAULT_BATCH = 10
"""Events of one call of a function, at most."""

_HOST = r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
_PRINTABLE_BUT_HASH = r'[!-"$-~]'
_PRINTABLE_BUT_HASH_AND_STAR = r'[!-"$-)+-~]'

HttpURL = Annotated[
    str,
    StringConstraints(max_length=2048, pattern=rf"^https?://{_HOST}(/{_PRINTABLE_BUT_HASH}*)?$"),
]
"""http or https, no user in it, no fragment."""

QueueURL = Annotated[
    str,
    StringConstraints(
        max_length=1024,
        pattern=rf"^https?://{_HOST}/([A-Za-z0-9_-]+/)*[A-Za-z0-9_-]{{1,80}}(\.fifo)?$",
    ),
]
_ARN = r"arn:aws[a-z-]*:"
_PLACE = r":[a-z]{2}[a-z0-9-]{1,30}:[0-9]{12}:"  # region and account

StreamARN = Annotated[
    str,
    StringConstraints(max_length=2048, pattern=rf"^{_ARN}kinesis{_PLACE}stream/[A-Za-z0-9_.-]{{1,128}}$"),
]
StreamName = Annotated[str, StringConstraints(max_length=128, pattern=r"^[A-Za-z0-9_.-]+$")]

EventBusARN = Annotated[
    str,
    StringConstraints(max_length=2048, pattern=rf"^{_ARN}events{_PLACE}event-bus/[A-Za-z0-9_.-]{{1,256}}$"),
]
EventBusName = Annotated[str, StringConstraints(max_length=256, pattern=r"^[A-Za-z0-9_.-]+$")]

_FUNCTION = r"[A-Za-z0-9_-]{1,64}"
_QUALIFIER = r"[A-Za-z0-9_$-]{1,128}"
FunctionARN = Annotated[
    str,
    StringConstraints(
        max_length=2048, pattern=rf"^{_ARN}lambda{_PLACE}function:{_FUNCTION}(:{_QUALIFIER})?$"
    ),
]
FunctionName = Annotated[str, StringConstraints(max_length=193, pattern=rf"^{_FUNCTION}(:{_QUALIFIER})?$")]

AllowedAddress = Annotated[
    str,
    StringConstraints(
        max_length=1024,
        pattern=rf"^((https?://{_HOST}|s3://[a-z0-9.-]+)(/{_PRINTABLE_BUT_HASH_AND_STAR}*)?(/\*)?"
        rf"|{_ARN}(kinesis{_PLACE}stream|events{_PLACE}event-bus)/([A-Za-z0-9_.-]+|\*)"
        rf"|{_ARN}lambda{_PLACE}function:({_FUNCTION}(:({_QUALIFIER}|\*))?|\*)"
        rf"|[A-Za-z0-9_.-]{{1,256}}(:{_QUALIFIER})?)$",
    ),
]
"""An address, or with a star at its end every address below one."""


class AllowedTarget(Value):
    """A target that replays may have."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.address) || (self.type in ['SQS', 'HTTP'] ? self.address.matches('^https?://')"
                " : self.type == 'S3' ? self.address.startsWith('s3://')"
                " : !self.address.contains('://') && (!self.address.startsWith('arn:')"
                " || self.address.contains(self.type == 'Kinesis' ? ':kinesis:'"
                " : self.type == 'EventBridge' ? ':events:' : ':lambda:')))",
                "must begin with s3:// for type S3, with http:// or https:// for SQS and HTTP, and be the "
                "ARN or name of what the others send to",
                "address",
            )
        )
    )

    type: TargetType = Field(description="Type of the target that is allowed.")
    address: AllowedAddress | None = Field(
        default=None,
        description="The address that is allowed: the queue's URL for SQS, the URL for HTTP, "
        "s3://bucket/prefix for S3, the ARN for the others, or the name where jobs name it by that. "
        "One that ends in /* or :* allows every address below it. "
        "Absent: every address of this type.",
    )


class SQSTarget(Value):
    queueURL: QueueURL = Field(
        description="URL of the queue. One that ends in .fifo keeps each entity's order; a standard "
        "queue keeps none."
    )


class HTTPTarget(Value):
    url: HttpURL = Field(description="http or https URL that each event is posted to as a CloudEvent.")
    headers: HeaderNames | None = Field(
        default=None,
        description="Headers that are sent again as they came with an event, of those that the stream keeps "
        "(ingest.headers); names in small letters. Absent: none.",
        json_schema_extra=SET,
    )
    secretRef: SecretRef | None = Field(
        default=None,
        description="Secret of this object's namespace that says how to authenticate: its key token is sent "
        "as Authorization: Bearer, or its keys username and password as Basic; by its key signingKey "
        "(base64, with whsec_ before it or not; several on a line each) each try is signed anew by the "
        "Standard Webhooks scheme. It is mounted into the pods that send; an installation that sends from "
        "its own process refuses it. Absent: no Authorization is sent.",
    )


class S3Target(Value):
    bucket: BucketName = Field(description="Bucket that the slice is written to.")
    prefix: KeyPrefix = Field(description="What the keys of the written objects begin with, before a slash.")
    format: S3Format = Field(default=S3Format.PARQUET, description="Form of the written objects.")


class KinesisTarget(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.streamARN) != has(self.streamName)",
                "exactly one of streamARN and streamName is required",
            )
        )
    )

    streamARN: StreamARN | None = Field(
        default=None, description="ARN of the data stream, which also says its region and account."
    )
    streamName: StreamName | None = Field(
        default=None,
        description="Name of the data stream, in the region and account that the replay works in.",
    )


class EventBridgeTarget(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.eventBusARN) != has(self.eventBusName)",
                "exactly one of eventBusARN and eventBusName is required",
            ),
            Rule(
                "!has(self.source) || !self.source.startsWith('aws.')",
                "must not begin with aws., which are AWS's own",
                "source",
            ),
        )
    )

    eventBusARN: EventBusARN | None = Field(
        default=None, description="ARN of the event bus, which also says its region and account."
    )
    eventBusName: EventBusName | None = Field(
        default=None,
        description="Name of the event bus, in the region and account that the replay works in; default is "
        "the name of the one that every account has.",
    )
    source: Annotated[str, StringConstraints(max_length=256, pattern=r"^[A-Za-z0-9_./-]+$")] | None = Field(
        default=None,
        description="source of what is put, for rules to match. Absent: the source of each event.",
    )
    detailType: Annotated[str, StringConstraints(max_length=128, pattern=r"^[!-~]([ -~]*[!-~])?$")] | None = (
        Field(
            default=None,
            description="detail-type of what is put, for rules to match. Absent: the type of each event.",
        )
    )


class LambdaTarget(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.functionARN) != has(self.functionName)",
                "exactly one of functionARN and functionName is required",
            )
        )
    )

    functionARN: FunctionARN | None = Field(
        default=None,
        description="ARN of the function, which also says its region and account; with a version or alias or "
        "without.",
    )
    functionName: FunctionName | None = Field(
        default=None,
        description="Name of the function, in the region and account that the replay works in; with a "
        "version or alias after a colon or without.",
    )
    invocation: Invocation = Field(
        default=Invocation.REQUEST_RESPONSE,
        description="RequestResponse: the function is waited for, and names the events that it did not take. "
        "Event: Lambda keeps the batch and calls the function; what becomes of it is not seen here.",
    )
    batchSize: Annotated[int, Field(ge=1, le=100)] = Field(
        default=DEFAULT_BATCH, description="Events of one call, at most."
    )


class Target(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(self.type == 'SQS') == has(self.sqs) && (self.type == 'HTTP') == has(self.http)"
                " && (self.type == 'S3') == has(self.s3) && (self.type == 'Kinesis') == has(self.kinesis)"
                " && (self.type == 'EventBridge') == has(self.eventBridge)"
                " && (self.type == 'Lambda') == has(self.lambda)",
                "must have the member that type names and no other: sqs for SQS, http for HTTP, s3 for S3, "
                "kinesis for Kinesis, eventBridge for EventBridge, lambda for Lambda",
            )
        )
    )

    type: TargetType = Field(description="Type of the target; the member of this name says where it is.")
    sqs: SQSTarget | None = Field(default=None, description="The queue, with type SQS.")
    http: HTTPTarget | None = Field(default=None, description="The endpoint, with type HTTP.")
    s3: S3Target | None = Field(default=None, description="The place in S3, with type S3.")
    kinesis: KinesisTarget | None = Field(default=None, description="The data stream, with type Kinesis.")
    eventBridge: EventBridgeTarget | None = Field(
        default=None, description="The event bus, with type EventBridge."
    )
    lambda_: LambdaTarget | None = Field(
        default=None, alias="lambda", description="The function, with type Lambda."
    )
