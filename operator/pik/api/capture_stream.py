"""CaptureStream: what is captured and where it is kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from pik.api.common import (
    ATOMIC,
    SET,
    DurationText,
    PrinterColumn,
    Resource,
    RoleARN,
    SecretRef,
    Toggle,
    Value,
    list_map,
)
from pik.api.functions import IngestFunction, Processing, Replay
from pik.api.headers import HeaderNames
from pik.api.labels import LabelSelector
from pik.api.mapping import EventMapping
from pik.api.rules import Rule, frozen_optional, immutable, immutable_optional, rules
from pik.api.sources import Source
from pik.api.storage import Storage
from pik.api.stream_status import CaptureStreamStatus
from pik.api.targets import AllowedTarget


class Deduplication(StrEnum):
    ON_WRITE = "OnWrite"
    ON_READ = "OnRead"


class IndexWrites(StrEnum):
    STATEMENTS = "Statements"
    TRANSACTIONS = "Transactions"


class CadenceKey(StrEnum):
    ENTITY = "Entity"
    SOURCE = "Source"
    EVENT_TYPE = "EventType"
    STREAM = "Stream"


class AccessFrom(StrEnum):
    SAME = "Same"
    SELECTOR = "Selector"
    ALL = "All"


class AuthType(StrEnum):
    NONE = "None"
    TOKEN_REVIEW = "TokenReview"  # noqa: S105 - no secret, a way to show one
    TOKEN = "Token"  # noqa: S105


class Approval(StrEnum):
    NONE = "None"
    REQUIRED = "Required"


class DriftPolicy(StrEnum):
    REPAIR = "Repair"
    REPORT = "Report"


class Index(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(immutable_optional("tableName"), immutable("deduplication"))
    )

    tableName: (
        Annotated[str, StringConstraints(min_length=3, max_length=255, pattern=r"^[A-Za-z0-9_.-]+$")] | None
    ) = Field(
        default=None,
        description="Name of the DynamoDB table. Absent: a name is derived, and appears in "
        "status.index.table. Immutable.",
    )
    pointInTimeRecovery: Toggle = Field(
        default=Toggle.ENABLED, description="DynamoDB's continuous backups of the table."
    )
    deduplication: Deduplication = Field(
        default=Deduplication.ON_WRITE,
        description="OnWrite: each event is decided by a conditional write and answered ACCEPTED, "
        "DUPLICATE or CONFLICT at once. OnRead, for volume: it is answered RECORDED, and "
        "the first-arrival rule is applied whenever the stream is read. Immutable.",
    )
    writes: IndexWrites = Field(
        default=IndexWrites.STATEMENTS,
        description="How many events at once are decided, with OnWrite. Statements: 25 a request, each for "
        "itself, two write units an event. Transactions: 100 a request and faster, three write units; "
        "where repeats come, statements.",
    )


class IngestAuth(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(self.type == 'Token') == has(self.secretRef)",
                "secretRef is required when type is Token, and only then",
                "secretRef",
            )
        )
    )

    type: AuthType = Field(
        default=AuthType.NONE,
        description="None: whoever reaches the gateway may send. TokenReview: callers show a token of a "
        "ServiceAccount that may create capturestreams/events in this namespace. Token: callers show "
        "the token of secretRef.",
    )
    secretRef: SecretRef | None = Field(
        default=None,
        description="Secret whose key token callers have to show, as Authorization: Bearer. It is one of "
        "those that the administrator has mounted into the gateway. Only with Token.",
    )


class Ingest(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.maxEventBytes <= self.maxBatchBytes",
                "maxEventBytes must not exceed maxBatchBytes",
                "maxEventBytes",
            ),
            Rule(
                "!has(self.sources) || has(self.lambda) || self.sources.all(source, source.type == 'S3')",
                "sources of type SQS, Kinesis and EventBridge are read by the function of ingest.lambda, "
                "which is required for them",
                "sources",
            ),
        )
    )

    gateway: Toggle = Field(
        default=Toggle.ENABLED, description="Whether the HTTP gateway takes events for this stream."
    )
    maxEventBytes: Annotated[int, Field(ge=256, le=10_485_760)] = Field(
        default=262_144,
        description="Largest event that is taken, in bytes of its JSON text (default 256 KiB).",
    )
    maxBatchBytes: Annotated[int, Field(ge=256, le=104_857_600)] = Field(
        default=10_485_760,
        description="Largest request that is taken, in bytes of its body (default 10 MiB).",
    )
    headers: HeaderNames | None = Field(
        default=None,
        description="Headers of HTTP requests that are kept with the events that came with them, apart from "
        "the data; names in small letters. They count for no fingerprint. Absent: none is kept.",
        json_schema_extra=SET,
    )
    auth: IngestAuth = Field(default=IngestAuth(), description="How callers of the gateway are known.")
    lambda_: IngestFunction | None = Field(
        default=None,
        alias="lambda",
        description="An AWS Lambda function that takes events for this stream, and gives the gateway's "
        "answers. Absent: there is none.",
    )
    sources: Annotated[tuple[Source, ...], Field(min_length=1, max_length=16)] | None = Field(
        default=None,
        description="Where events come from by themselves. Absent: they are sent.",
        json_schema_extra=list_map("name"),
    )


class Expect(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule("has(self.every) || has(self.lateAfter)", "at least one of every and lateAfter is required"),
            Rule(
                "!has(self.every) || duration(self.every) > duration('0s')", "must be longer than 0s", "every"
            ),
        )
    )

    every: DurationText | None = Field(
        default=None,
        description="Cadence of the events, in UTC, such as 1h: a span without one is reported as a gap. "
        "Hours, minutes and seconds. Absent: no gaps are reported.",
    )
    by: CadenceKey = Field(
        default=CadenceKey.ENTITY,
        description="What the cadence holds for: each entity, each source, each event type, or the "
        "stream as a whole.",
    )
    lateAfter: DurationText | None = Field(
        default=None,
        description="An event is late when it became known more than this after its event time, such as 15m. "
        "Hours, minutes and seconds. Absent: no event is counted as late.",
    )


class Access(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(self.from == 'Selector') == has(self.selector)",
                "selector is required when from is Selector, and only then",
                "selector",
            )
        )
    )

    from_: AccessFrom = Field(
        default=AccessFrom.SAME,
        alias="from",
        description="Namespaces whose ReplayJobs and AggregateVersions may refer to this stream: its own "
        "(Same), its own and those that `selector` selects (Selector), or every one (All).",
    )
    selector: LabelSelector | None = Field(
        default=None, description="Selects namespaces by their labels. Only with Selector."
    )


class ReplayPolicy(Value):
    approval: Approval = Field(
        default=Approval.NONE,
        description="Whether a run must be approved by a person after its plan is shown.",
    )
    targets: Annotated[tuple[AllowedTarget, ...], Field(min_length=1, max_length=32)] | None = Field(
        default=None,
        description="Where replays may send to. Absent: anywhere that pik itself permits.",
        json_schema_extra=ATOMIC,
    )
    maxEvents: Annotated[int, Field(ge=1, le=1_000_000_000_000)] | None = Field(
        default=None, description="Most events that one replay may send. Absent: no bound."
    )
    maxEventsPerSecond: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="Most events a second that one replay may send, over all its shards. Absent: no bound.",
    )


class CaptureStreamSpec(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.replay) || has(self.replay.lambda.queueURL) || has(self.processing)",
                "replay.lambda.queueURL is required where there is no processing, whose queue it would take",
                "replay",
            ),
            Rule(
                "!has(self.ingest.sources) || (has(self.mapping) && has(self.mapping.entityID))"
                " || self.ingest.sources.all(source, !has(source.eventBridge)"
                " || has(source.eventBridge.entityID))",
                "a source of type EventBridge needs entityID, there or in mapping: an envelope of "
                "EventBridge does not say what it is about",
                "ingest",
            ),
        )
    )

    storage: Storage = Field(description="Where events are kept, and for how long.")
    index: Index = Field(default=Index(), description="The DynamoDB index over the stored events.")
    mapping: EventMapping | None = Field(
        default=None,
        description="How rows of another form become events. Absent: events come in pik's own form or "
        "as CloudEvents. Frozen once the first event is stored.",
    )
    ingest: Ingest = Field(default=Ingest(), description="How events come in.")
    expect: Expect | None = Field(
        default=None,
        description="What regular arrival looks like, for `pik inspect`. Absent: nothing is expected.",
    )
    access: Access = Field(default=Access(), description="Which namespaces may refer to this stream.")
    replay: Replay | None = Field(
        default=None, description="Replays that are called for, beside ReplayJobs. Absent: there are none."
    )
    processing: Processing | None = Field(
        default=None,
        description="An AWS Lambda function that computes the time buckets which replayed events touch, from "
        "raw, each as a version; with a queue to replay to. Absent, as by default: nothing is processed.",
    )
    replayPolicy: ReplayPolicy = Field(
        default=ReplayPolicy(),
        description="Limits of the owner that no ReplayJob of this stream can exceed.",
    )
    driftPolicy: DriftPolicy = Field(
        default=DriftPolicy.REPAIR,
        description="What happens when bucket or table differ from this spec. Repair: they are set "
        "right where no data can be lost by it. Report: the difference is listed in "
        "status.drift only.",
    )
    roleARN: RoleARN | None = Field(
        default=None,
        description="ARN of the IAM role that pik assumes for this stream's bucket and table. The "
        "administrator's map of roles must have it for this namespace. Absent: pik's own credentials.",
    )
    suspend: bool = Field(
        default=False,
        description="While true, no event is taken and nothing is reconciled; what is stored stays.",
    )


class CaptureStream(Resource):
    """What is captured and where it is kept: a stream of events, its bucket and index, its owner's limits."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            frozen_optional(
                "has(oldSelf.status) && has(oldSelf.status.firstIngestTime)",
                "is frozen since the first event was stored: capture into a new stream instead",
                "mapping",
            )
        )
    )

    KIND: ClassVar[str] = "CaptureStream"
    PLURAL: ClassVar[str] = "capturestreams"
    SHORT_NAME: ClassVar[str] = "cst"
    COLUMNS: ClassVar[tuple[PrinterColumn, ...]] = (
        PrinterColumn(name="Ready", type="string", jsonPath='.status.conditions[?(@.type=="Ready")].status'),
        PrinterColumn(name="Reason", type="string", jsonPath='.status.conditions[?(@.type=="Ready")].reason'),
        PrinterColumn(name="Bucket", type="string", jsonPath=".status.storage.bucket"),
        PrinterColumn(name="Events", type="integer", jsonPath=".status.counters.events"),
        PrinterColumn(name="Last event", type="date", jsonPath=".status.counters.lastIngestTime"),
        PrinterColumn(name="Age", type="date", jsonPath=".metadata.creationTimestamp"),
        PrinterColumn(name="Conflicts", type="integer", jsonPath=".status.counters.conflicts", wide=True),
        PrinterColumn(
            name="Message",
            type="string",
            jsonPath='.status.conditions[?(@.type=="Ready")].message',
            wide=True,
        ),
    )

    spec: CaptureStreamSpec = Field(description="What is wanted of the stream.")
    status: CaptureStreamStatus = Field(
        default_factory=CaptureStreamStatus, description="What was observed of the stream."
    )
