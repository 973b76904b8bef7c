"""ReplayJob: one replay: a slice, a target, the record of what was done."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from pik.api.common import (
    ATOMIC,
    SET,
    Conditions,
    Count,
    FieldPath,
    Observed,
    PrinterColumn,
    RecordedInstant,
    Resource,
    Sha256,
    SqlCondition,
    StreamRef,
    Toggle,
    Value,
    Window,
)
from pik.api.execution import Execution
from pik.api.rules import Rule, frozen, frozen_optional, rules
from pik.api.targets import QueueURL, Target
from pik.domain.transform import Action


class TimeField(StrEnum):
    EVENT_TIME = "EventTime"
    INGEST_TIME = "IngestTime"


class Duplicates(StrEnum):
    FIRST = "First"
    ALL = "All"


class Order(StrEnum):
    ENTITY_TIME = "EntityTime"
    EVENT_TIME = "EventTime"
    INGEST_TIME = "IngestTime"


class ErrorAction(StrEnum):
    STOP = "Stop"
    DEAD_LETTER = "DeadLetter"
    HOLD_ENTITY = "HoldEntity"


class StaleAction(StrEnum):
    FAIL = "Fail"
    SKIP = "Skip"
    SEND = "Send"


class Mode(StrEnum):
    DRY_RUN = "DryRun"
    RUN = "Run"


class SelectWindow(Window):
    field: TimeField = Field(
        default=TimeField.EVENT_TIME,
        description="The time that the window is of: when events happened (EventTime) or were stored "
        "(IngestTime).",
    )


_Id = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Select(Value):
    window: SelectWindow = Field(description="Events within this half-open span.")
    entities: Annotated[tuple[_Id, ...], Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="Only events of these entities. Absent: of all.", json_schema_extra=SET
    )
    sources: Annotated[tuple[_Id, ...], Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Only events of these sources. Absent: of all.", json_schema_extra=SET
    )
    eventTypes: Annotated[tuple[_Id, ...], Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Only events of these types. Absent: of all.", json_schema_extra=SET
    )
    where: SqlCondition | None = Field(
        default=None,
        description="SQL condition over the event's columns and payload.*, such as payload.carrier = 'UA'. "
        "Absent: no further condition.",
    )
    duplicates: Duplicates = Field(
        default=Duplicates.FIRST,
        description="First: each event once, as it first arrived. All: its repeats too. Conflicts are "
        "never sent.",
    )
    limit: Annotated[int, Field(ge=1, le=1_000_000_000_000)] | None = Field(
        default=None,
        description="Only the first so many events of the slice, in `order`. Absent: all of them.",
    )


class DeadLetter(Value):
    queueURL: QueueURL = Field(description="URL of the SQS queue that takes what the target refused.")


class OnError(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(self.action == 'DeadLetter') == has(self.deadLetter)",
                "deadLetter is required when action is DeadLetter, and only then",
                "deadLetter",
            )
        )
    )

    action: ErrorAction = Field(
        default=ErrorAction.STOP,
        description="What happens when the target refuses an event for good. Stop: the run ends as Failed. "
        "DeadLetter: the event goes to `deadLetter` and the run goes on. "
        "HoldEntity: later events of its entity stay unsent and are counted as held.",
    )
    deadLetter: DeadLetter | None = Field(
        default=None, description="Where refused events go. Only with DeadLetter."
    )


class FieldTransform(Value):
    path: FieldPath = Field(
        description="Names into the payload, separated by dots; an array on the way is gone through, so that "
        "items.email is that field of each element. A payload that does not have it is left as it is."
    )
    action: Action = Field(
        description="Drop: the field is left out. Mask: texts become ***, numbers 0 and booleans false; "
        "names, lengths of arrays and null stay. Hash: the value becomes the HMAC-SHA-256 (hex) of itself "
        "under a key that lies in the stream's bucket: the same value is the same text in every run of the "
        "stream; null stays."
    )


class ApprovalGrant(Value):
    plan: Sha256 = Field(
        description="Hash of the plan that is approved (status.plan.hash); no other plan is run."
    )
    by: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="Who approves; in a cluster, the user name that the API server knows."
    )


class Pace(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.eventsPerSecond) != has(self.speed)",
                "exactly one of eventsPerSecond and speed is required",
            )
        )
    )

    eventsPerSecond: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Events a second, over all shards of the run."
    )
    speed: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="How many times as fast as it happened: 60 sends an hour's events in a minute.",
    )


_STARTED = (
    "has(oldSelf.status) && has(oldSelf.status.run) && has(oldSelf.status.run.startTime)"
    " && oldSelf.status.run.key == oldSelf.spec.runKey && self.spec.runKey == oldSelf.spec.runKey"
)
_STARTED_MESSAGE = "cannot change once the run has started: change runKey to run again"
RUN_FIELDS = ("streamRef", "select", "target", "order", "shards", "onError", "onStale", "retriesPerShard")
"""The fields that determine every event to be sent and its order: frozen once started, hashed in the plan."""
OPTIONAL_RUN_FIELDS = ("transform",)
"""Further ones, that need not be there."""


class ReplayJobSpec(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.order == 'EntityTime' || self.shards == 1",
                "order EventTime and IngestTime are possible only with shards: 1",
                "order",
            ),
            Rule("self.parallelism <= self.shards", "parallelism must not exceed shards", "parallelism"),
        )
    )

    streamRef: StreamRef = Field(description="The CaptureStream to replay from.")
    select: Select = Field(description="The slice of the stream to replay.")
    target: Target = Field(description="Where events are sent to.")
    transform: Annotated[tuple[FieldTransform, ...], Field(min_length=1, max_length=32)] | None = Field(
        default=None,
        description="What is changed in each payload before it is sent, one after the other; all else of it "
        "is sent as it was captured. Absent: nothing is.",
        json_schema_extra=ATOMIC,
    )
    order: Order = Field(
        default=Order.ENTITY_TIME,
        description="EntityTime: each entity's events in the order of their event time, none across "
        "entities. EventTime and IngestTime: one order over all events (only with shards: "
        "1).",
    )
    shards: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="Parts that the entities are divided into, each with a checkpoint of its own."
    )
    onError: OnError = Field(default=OnError(), description="What happens when the target refuses an event.")
    onStale: StaleAction = Field(
        default=StaleAction.FAIL,
        description="What happens to an entity that has newer events outside the slice, which a replay "
        "would set back. Fail: the run is not started. Skip: the entity is left out. Send: "
        "it is sent all the same.",
    )
    retriesPerShard: Annotated[int, Field(ge=0, le=100)] = Field(
        default=6, description="How often a failed shard is tried again."
    )
    verifyTarget: Toggle = Field(
        default=Toggle.DISABLED,
        description="Enabled: when the run has succeeded, the target is read and compared with what was "
        "sent, event by event; the condition Reconciled says what was found. Possible for S3, and for HTTP "
        "where the URL is a stream's on this installation's gateway; else Reconciled is Unknown.",
    )
    runKey: Annotated[
        str,
        StringConstraints(max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"),
    ] = Field(
        default="1",
        description="Names the run together with stream, namespace and name. A run is done once for good, "
        "also after this object was deleted and applied again; change the key to run again.",
    )
    mode: Mode = Field(
        default=Mode.DRY_RUN, description="DryRun: the plan is shown and nothing sent. Run: it is sent."
    )
    approval: ApprovalGrant | None = Field(
        default=None, description="Approval of one plan, as written by `pik approve`. Absent: not approved."
    )
    pace: Pace | None = Field(
        default=None,
        description="How fast the run sends, over all shards. Absent: as fast as the target takes it.",
    )
    parallelism: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="Shards that are worked on at the same time; at most `shards`."
    )
    suspend: bool | None = Field(
        default=None,
        description="While true, nothing is sent; a run stops at its next checkpoint and goes on later.",
    )
    ttlSecondsAfterFinished: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None,
        description="Seconds after which a finished object is deleted; the record of its run stays. "
        "Absent: never.",
    )
    execution: Execution | None = Field(
        default=None,
        description="How the pods of the run's shards run; where an installation sends from its own process, "
        "as local mode does, there are none. Used by the pods that are made from then on. Absent: as the "
        "installation sets it.",
    )


class RunStatus(Observed):
    id: Annotated[str, StringConstraints(max_length=64)] = Field(description="Identity of the run.")
    key: Annotated[str, StringConstraints(max_length=63)] = Field(
        description="The spec.runKey that it was started by."
    )
    startTime: RecordedInstant | None = Field(
        default=None, description="When its record was made, before the first send (RFC 3339, UTC)."
    )
    completionTime: RecordedInstant | None = Field(default=None, description="When it ended (RFC 3339, UTC).")
    ledgerURI: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="s3:// URI of the record of what was sent."
    )


class ShapeStatus(Observed):
    eventType: Annotated[str, StringConstraints(max_length=512)] = Field(description="Type of these events.")
    shape: Annotated[str, StringConstraints(max_length=16)] = Field(
        description="Hash of the payload's paths and of the JSON type at each."
    )
    events: Count = Field(description="How many of those looked at have it.")
    example: Annotated[str, StringConstraints(max_length=64)] = Field(description="Event id of one of them.")


class PlanStatus(Observed):
    hash: Sha256 = Field(description="Identity of the plan: what is sent, and in which order.")
    asOf: RecordedInstant = Field(description="Ingest time up to which the stream was read (RFC 3339, UTC).")
    segments: Count | None = Field(default=None, description="Segments that hold the slice.")
    matched: Count | None = Field(default=None, description="Events in the slice.")
    bytes: Count | None = Field(default=None, description="Bytes of their payloads.")
    firstEventTime: RecordedInstant | None = Field(default=None, description="Event time of the first one.")
    lastEventTime: RecordedInstant | None = Field(default=None, description="Event time of the last one.")
    stale: Count | None = Field(
        default=None, description="Entities that have newer events outside the slice."
    )
    shapes: tuple[ShapeStatus, ...] = Field(
        default=(),
        max_length=20,
        description="Shapes of the payloads in the segments that hold the slice, of its event types; the "
        "most frequent first. An event of the segments need not be in the slice.",
        json_schema_extra=ATOMIC,
    )
    shapesComplete: bool | None = Field(
        default=None,
        description="Whether every event of these segments was looked at. False: at most 64 of each were, or "
        "there are more shapes than are listed, so that rare ones may be missing.",
    )
    estimatedDuration: Annotated[str, StringConstraints(max_length=32)] | None = Field(
        default=None, description="How long the run may take, in hours, minutes and seconds."
    )
    estimatedCost: Annotated[str, StringConstraints(max_length=32)] | None = Field(
        default=None, description="What AWS may charge for the run, in US dollars as decimal text."
    )


class ProgressStatus(Observed):
    sent: Count | None = Field(default=None, description="Events that the target confirmed.")
    failed: Count | None = Field(default=None, description="Events that the target refused for good.")
    held: Count | None = Field(
        default=None, description="Events held back behind a failed one of their entity."
    )
    skippedDuplicates: Count | None = Field(
        default=None, description="Repeats of the slice that were not sent."
    )
    bytes: Count | None = Field(default=None, description="Bytes of the payloads sent.")
    shardsSucceeded: Count | None = Field(default=None, description="Shards that are done.")
    lastCheckpointTime: RecordedInstant | None = Field(
        default=None, description="When a checkpoint was last written (RFC 3339, UTC)."
    )


class Failure(Observed):
    eventID: Annotated[str, StringConstraints(max_length=64)] = Field(description="Id of the event.")
    reason: Annotated[str, StringConstraints(max_length=128)] = Field(
        description="Why, in one CamelCase word."
    )
    message: Annotated[str, StringConstraints(max_length=1024)] = Field(description="Why, for a person.")


class ReplayJobStatus(Observed):
    observedGeneration: Count | None = Field(
        default=None, description="The metadata.generation that this status speaks of."
    )
    conditions: Conditions = ()
    run: RunStatus | None = Field(default=None, description="The run, once there is a record of it.")
    plan: PlanStatus | None = Field(default=None, description="What would be or is being sent.")
    progress: ProgressStatus | None = Field(default=None, description="What was sent so far.")
    failures: tuple[Failure, ...] = Field(
        default=(),
        max_length=10,
        description="The first events that the target refused.",
        json_schema_extra=ATOMIC,
    )


class ReplayJob(Resource):
    """One replay: a slice of a stream, a target, and the record of what was done."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            frozen(_STARTED, _STARTED_MESSAGE, *RUN_FIELDS),
            frozen_optional(_STARTED, _STARTED_MESSAGE, *OPTIONAL_RUN_FIELDS),
        )
    )

    KIND: ClassVar[str] = "ReplayJob"
    PLURAL: ClassVar[str] = "replayjobs"
    SHORT_NAME: ClassVar[str] = "rj"
    COLUMNS: ClassVar[tuple[PrinterColumn, ...]] = (
        PrinterColumn(name="Mode", type="string", jsonPath=".spec.mode"),
        # there is no phase: Complete is always there, and its reason says how far the job is
        PrinterColumn(
            name="State", type="string", jsonPath='.status.conditions[?(@.type=="Complete")].reason'
        ),
        PrinterColumn(name="Matched", type="integer", jsonPath=".status.plan.matched"),
        PrinterColumn(name="Sent", type="integer", jsonPath=".status.progress.sent"),
        PrinterColumn(name="Failed", type="integer", jsonPath=".status.progress.failed"),
        PrinterColumn(name="Age", type="date", jsonPath=".metadata.creationTimestamp"),
        PrinterColumn(
            name="Message",
            type="string",
            jsonPath='.status.conditions[?(@.type=="Complete")].message',
            wide=True,
        ),
    )

    spec: ReplayJobSpec = Field(description="What is wanted of the replay.")
    status: ReplayJobStatus = Field(
        default_factory=ReplayJobStatus, description="What was observed of the replay."
    )
