"""What was observed of a CaptureStream: its storage, index, counters, functions, sources and drift."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from pik.api.common import ATOMIC, Conditions, Count, Observed, RecordedInstant, Sha256, list_map


class StorageStatus(Observed):
    bucket: Annotated[str, StringConstraints(max_length=63)] | None = Field(
        default=None, description="Name of the bucket in use."
    )
    prefix: Annotated[str, StringConstraints(max_length=200)] | None = Field(
        default=None, description="Prefix in use, without a slash at its end."
    )
    owner: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="Owner that the bucket's owner record names: cluster/namespace/name."
    )


class IndexStatus(Observed):
    table: Annotated[str, StringConstraints(max_length=255)] | None = Field(
        default=None, description="Name of the table in use."
    )


class Counters(Observed):
    events: Count | None = Field(
        default=None, description="Events stored (first arrivals, where decided on write)."
    )
    duplicates: Count | None = Field(default=None, description="Arrivals answered DUPLICATE.")
    conflicts: Count | None = Field(default=None, description="Arrivals answered CONFLICT.")
    lastIngestTime: RecordedInstant | None = Field(
        default=None, description="Ingest time of the newest arrival (RFC 3339, UTC)."
    )
    observedTime: RecordedInstant | None = Field(
        default=None, description="When these figures were read (RFC 3339, UTC); at most once a minute."
    )


class DriftAction(StrEnum):
    REPAIRED = "Repaired"
    REPORTED = "Reported"


class Drift(Observed):
    resource: Annotated[str, StringConstraints(max_length=512)] = Field(
        description="What differed: a bucket or table."
    )
    field: Annotated[str, StringConstraints(max_length=256)] = Field(description="Which of its settings.")
    action: DriftAction = Field(description="What pik did about it.")
    time: RecordedInstant = Field(description="When it was found (RFC 3339, UTC).")


class SourceState(StrEnum):
    READING = "Reading"
    PAUSED = "Paused"
    FAILING = "Failing"


class FunctionStatus(Observed):
    name: Annotated[str, StringConstraints(max_length=16)] = Field(
        description="Which function it is: ingest, replay or processor."
    )
    function: Annotated[str, StringConstraints(max_length=64)] = Field(
        description="Name of the function in AWS Lambda."
    )
    arn: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        default=None, description="ARN of its alias live, which is what callers call."
    )
    version: Annotated[str, StringConstraints(max_length=20)] | None = Field(
        default=None, description="Version that the alias names. Absent: none was well yet."
    )
    codeSHA256: Sha256 | None = Field(
        default=None, description="SHA-256 of that version's package, in hex, as `make lambdas` prints it."
    )
    url: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        default=None, description="Its Function URL, where it has one."
    )
    queueURL: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="URL of the queue that it reads (processor) or sends to (replay)."
    )
    deadLetterURL: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="URL of the queue with what the processor could not process."
    )


class SourceProgress(Observed):
    objects: Count = Field(description="Objects that were read whole.")
    pending: Count = Field(description="Objects that are still to be read.")
    bytes: Count = Field(description="Bytes of the objects that were read.")
    events: Count = Field(description="Events that came from them, repeats too.")
    rejected: Count = Field(description="Records in them that are no events.")
    lastKey: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="Key of the object that was read last."
    )
    observedTime: RecordedInstant = Field(description="When this was so (RFC 3339, UTC).")


class SourceStatus(Observed):
    name: Annotated[str, StringConstraints(max_length=20)] = Field(description="Name of the source.")
    type: Annotated[str, StringConstraints(max_length=16)] = Field(description="Type of the source.")
    address: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None,
        description="Where to send, or what is read: URL of a queue, ARN of a stream, or s3:// address.",
    )
    deadLetters: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None,
        description="The queue with what was not taken: its URL, or of an attached source's its ARN.",
    )
    state: SourceState = Field(description="Reading, Paused or Failing.")
    message: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="What is wrong with it."
    )
    progress: SourceProgress | None = Field(default=None, description="Of a source of type S3.")


class CaptureStreamStatus(Observed):
    observedGeneration: Count | None = Field(
        default=None, description="The metadata.generation that this status speaks of."
    )
    conditions: Conditions = ()
    streamID: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="Identity of the stream, minted in the bucket's owner record."
    )
    storage: StorageStatus | None = Field(default=None, description="The storage in use.")
    index: IndexStatus | None = Field(default=None, description="The index in use.")
    ingestURL: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="Where the gateway takes events for this stream."
    )
    firstIngestTime: RecordedInstant | None = Field(
        default=None,
        description="Ingest time of the first event (RFC 3339, UTC); from then on the mapping is frozen.",
    )
    counters: Counters | None = Field(
        default=None, description="What was counted, as of counters.observedTime."
    )
    functions: tuple[FunctionStatus, ...] = Field(
        default=(),
        max_length=3,
        description="The AWS Lambda functions of the stream.",
        json_schema_extra=list_map("name"),
    )
    sources: tuple[SourceStatus, ...] = Field(
        default=(),
        max_length=16,
        description="The sources, as they were last looked at.",
        json_schema_extra=list_map("name"),
    )
    drift: tuple[Drift, ...] = Field(
        default=(),
        max_length=10,
        description="The latest differences between the spec and AWS, newest first.",
        json_schema_extra=ATOMIC,
    )
