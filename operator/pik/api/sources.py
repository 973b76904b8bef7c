"""Where a stream's events come from by themselves: queues and streams that its function `ingest` reads, and
objects that are there already."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from pik.api.common import BucketName, Value
from pik.api.mapping import TextMapping
from pik.api.rules import Rule, rules


class SourceType(StrEnum):
    SQS = "SQS"
    KINESIS = "Kinesis"
    EVENT_BRIDGE = "EventBridge"
    S3 = "S3"


class StartingPosition(StrEnum):
    TRIM_HORIZON = "TrimHorizon"
    LATEST = "Latest"


class ObjectFormat(StrEnum):
    NDJSON = "NDJSON"
    CSV = "CSV"
    PARQUET = "Parquet"


class Compression(StrEnum):
    NONE = "None"
    GZIP = "Gzip"


_ACCOUNT = r"[a-z0-9-]+:[0-9]{12}"
QueueARN = Annotated[
    str, StringConstraints(max_length=256, pattern=rf"^arn:aws[a-z-]*:sqs:{_ACCOUNT}:[A-Za-z0-9_-]{{1,80}}$")
]
"""Of a standard queue."""

StreamARN = Annotated[
    str,
    StringConstraints(
        max_length=256, pattern=rf"^arn:aws[a-z-]*:kinesis:{_ACCOUNT}:stream/[A-Za-z0-9_.-]{{1,128}}$"
    ),
]
SourceName = Annotated[
    str, StringConstraints(min_length=1, max_length=20, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
ObjectPrefix = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[!-~]+$")]


class ContentType(StrEnum):
    """Of what the gateway takes, by its names there."""

    JSON = "application/json"
    LINES = "application/x-ndjson"
    CLOUD_EVENT = "application/cloudevents+json"
    CLOUD_EVENTS = "application/cloudevents-batch+json"


class SQSSource(Value):
    queueARN: QueueARN | None = Field(
        default=None,
        description="ARN of a standard queue that exists; its settings stay as they are. Its visibility "
        "timeout must be 6 times the function's timeoutSeconds or more. Absent: a queue is made, with a "
        "dead-letter queue; its URL appears in status.sources.",
    )
    maxReceiveCount: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=5,
        description="How often a message that is not taken is tried before it goes to the dead-letter queue. "
        "Of a queue that pik makes.",
    )
    batchSize: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="Most messages of one invocation."
    )
    contentType: ContentType = Field(
        default=ContentType.JSON,
        description="What a message is that does not say it by its attribute contentType.",
    )


class KinesisSource(Value):
    streamARN: StreamARN | None = Field(
        default=None,
        description="ARN of a stream that exists. Absent: a stream is made, with capacity on demand; its ARN "
        "appears in status.sources.",
    )
    startingPosition: StartingPosition = Field(
        default=StartingPosition.TRIM_HORIZON,
        description="TrimHorizon: from the oldest record that the stream still has. Latest: what comes from "
        "now on.",
    )
    batchSize: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=500, description="Most records of one invocation."
    )
    contentType: ContentType = Field(default=ContentType.JSON, description="What a record is.")


class EventBridgeSource(Value):
    busName: Annotated[
        str, StringConstraints(min_length=1, max_length=256, pattern=r"^[/.A-Za-z0-9_-]+$")
    ] = Field(
        default="default",
        description="Name of the event bus, in this account and region. The administrator's map must have "
        "it, under sources, for this namespace.",
    )
    pattern: Annotated[str, StringConstraints(min_length=2, max_length=2048, pattern=r"^\{[^\x00]*\}$")] = (
        Field(
            description='Event pattern of the rule, as JSON, such as {"source": ["shop"]}. What matches '
            "goes to a queue that pik makes, and from there into the stream."
        )
    )
    entityID: TextMapping | None = Field(
        default=None,
        description="What an event is about: paths into its detail. Absent: spec.mapping.entityID, which is "
        "required then.",
    )
    maxReceiveCount: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=5, description="As that of a source of type SQS."
    )
    batchSize: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="Most events of one invocation."
    )


class S3Source(Value):
    bucket: BucketName = Field(
        description="Bucket that has the objects. The administrator's map must have it, under sources, for "
        "this namespace."
    )
    prefix: ObjectPrefix = Field(description="What the keys of the objects begin with.")
    format: ObjectFormat = Field(description="Form of the objects: lines of JSON, CSV or Parquet.")
    compression: Compression = Field(
        default=Compression.NONE, description="Of NDJSON and CSV objects: None or Gzip."
    )
    null: Annotated[str, StringConstraints(max_length=16)] = Field(
        default="", description="Text in a CSV object that stands for no value."
    )


class Source(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(self.type == 'SQS') == has(self.sqs) && (self.type == 'Kinesis') == has(self.kinesis)"
                " && (self.type == 'EventBridge') == has(self.eventBridge)"
                " && (self.type == 'S3') == has(self.s3)",
                "must have the member that type names and no other: sqs for SQS, kinesis for Kinesis, "
                "eventBridge for EventBridge, s3 for S3",
            ),
            Rule("self.type == oldSelf.type", "is immutable: give another source another name", "type"),
        )
    )

    name: SourceName = Field(description="Name of the source in this stream.")
    type: SourceType = Field(description="Type of the source; the member of this name says where it is.")
    sqs: SQSSource | None = Field(default=None, description="The queue, with type SQS.")
    kinesis: KinesisSource | None = Field(default=None, description="The stream, with type Kinesis.")
    eventBridge: EventBridgeSource | None = Field(
        default=None, description="The rule, with type EventBridge."
    )
    s3: S3Source | None = Field(
        default=None, description="The objects, with type S3: each is read once, when it is first seen."
    )
