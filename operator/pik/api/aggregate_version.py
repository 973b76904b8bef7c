"""AggregateVersion: one computed answer, for good."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from pik.api.common import (
    ATOMIC,
    SET,
    Conditions,
    Count,
    InstantText,
    Name,
    Observed,
    PrinterColumn,
    RecordedInstant,
    Resource,
    Sha256,
    SqlCondition,
    SqlExpression,
    StreamRef,
    Value,
    Window,
    list_map,
)
from pik.api.execution import AggregateExecution
from pik.api.rules import Rule, immutable, immutable_optional, rules


class TimeBucket(StrEnum):
    MINUTE = "Minute"
    HOUR = "Hour"
    DAY = "Day"
    WEEK = "Week"
    MONTH = "Month"
    WINDOW = "Window"


class KnownBy(StrEnum):
    INGEST_TIME = "IngestTime"
    RECEIVED_TIME = "ReceivedTime"


class Engine(StrEnum):
    DUCKDB = "DuckDB"
    ATHENA = "Athena"


TimeZone = Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$")]
"""Name of one of IANA's."""


class Measure(Value):
    name: Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z][a-z0-9_]*$")] = Field(
        description="Name of the result's column, in lower case."
    )
    expression: SqlExpression = Field(
        description="SQL aggregate over the event's columns and payload.*, such as avg(payload.arr_delay)."
    )


class CompareTo(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule("has(self.name) != has(self.version)", "exactly one of name and version is required")
        )
    )

    name: Name | None = Field(default=None, description="Name of an AggregateVersion in this namespace.")
    version: Sha256 | None = Field(default=None, description="A version by its hash (status.version).")


class AggregateVersionSpec(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            immutable("streamRef", "window", "timezone", "bucket"),
            immutable_optional("groupBy"),
            immutable("measures"),
            immutable_optional("where", "asOf"),
            immutable("knownBy", "engine"),
            immutable_optional("compareTo"),
            Rule(
                "!has(self.execution) || !has(self.execution.athena) || self.engine == 'Athena'",
                "is for engine Athena alone",
                "execution.athena",
            ),
        )
    )

    streamRef: StreamRef = Field(description="The CaptureStream whose events are aggregated. Immutable.")
    window: Window = Field(description="Events whose event time is within this half-open span. Immutable.")
    timezone: TimeZone = Field(
        default="UTC",
        description="IANA time zone that buckets follow, such as America/New_York. A bucket is named by "
        "the UTC instant at which it starts, so that a day of 25 hours has 25 hours. "
        "Immutable.",
    )
    bucket: TimeBucket = Field(
        description="Length of a time bucket in that zone (weeks begin on Monday); "
        "Window: the whole window is one bucket. Immutable."
    )
    groupBy: Annotated[tuple[SqlExpression, ...], Field(min_length=1, max_length=16)] | None = Field(
        default=None,
        description="SQL expressions over the event's columns and payload.* that divide a bucket's "
        "events, such as payload.carrier. Absent: one row a bucket. Immutable.",
        json_schema_extra=SET,
    )
    measures: Annotated[tuple[Measure, ...], Field(min_length=1, max_length=32)] = Field(
        description="What is computed for each bucket and group, each under a name of its own. Immutable.",
        json_schema_extra=list_map("name"),
    )
    where: SqlCondition | None = Field(
        default=None,
        description="SQL condition over the event's columns and payload.* that events must meet. "
        "Absent: all of the window. Immutable.",
    )
    asOf: InstantText | None = Field(
        default=None,
        description="What was known at this instant (RFC 3339, at most 6 fractional digits). Absent: "
        "what is known when it is first computed, which is then kept for this definition. "
        "Immutable.",
    )
    knownBy: KnownBy = Field(
        default=KnownBy.INGEST_TIME,
        description="When an event became known: when pik stored it (IngestTime) or when its source "
        "says that it saw it (ReceivedTime), for imported history. Immutable.",
    )
    engine: Engine = Field(
        default=Engine.DUCKDB,
        description="What computes it; the answer does not depend on it. DuckDB: pik itself, which reads the "
        "segments that it needs. Athena: queries over the segments where they lie, for more than one machine "
        "should read; what Athena cannot compute exactly is refused (ExpressionNotSupported). Immutable.",
    )
    compareTo: CompareTo | None = Field(
        default=None, description="Another version whose difference from this one is explained. Immutable."
    )
    execution: AggregateExecution | None = Field(
        default=None,
        description="How much memory the computation gets, and how its pod runs; where an installation "
        "computes in its own process, as local mode does, memory alone counts. Used by the next try. Absent: "
        "as the installation sets it.",
    )
    suspend: bool = Field(default=False, description="While true, nothing is computed.")


class Difference(Observed):
    against: Annotated[str, StringConstraints(max_length=64)] = Field(
        description="The version compared with."
    )
    rowsChanged: Count = Field(description="Rows of the result that differ.")
    late: Count = Field(description="Events only in this one that happened before the other's asOf.")
    duplicates: Count = Field(
        description="Events that arrived more than once in between; they change nothing."
    )
    conflicts: Count = Field(description="Events in both whose fingerprints differ.")
    missing: Count = Field(description="Events only in the other one.")
    new: Count = Field(description="Other events that are only in this one.")


class AthenaStatus(Observed):
    database: Annotated[str, StringConstraints(max_length=255)] = Field(
        description="Glue database of the table."
    )
    table: Annotated[str, StringConstraints(max_length=255)] = Field(
        description="Glue table of the stream's segments, which pik keeps as it has to be."
    )
    workGroup: Annotated[str, StringConstraints(max_length=128)] = Field(
        description="Work group in which the queries run."
    )
    queryExecutionIDs: tuple[Annotated[str, StringConstraints(max_length=128)], ...] = Field(
        default=(),
        max_length=10,
        description="Queries that the answer came from, in their order.",
        json_schema_extra=ATOMIC,
    )
    bytesScanned: Count | None = Field(
        default=None, description="Bytes that Athena says these queries scanned."
    )


class AggregateVersionStatus(Observed):
    observedGeneration: Count | None = Field(
        default=None, description="The metadata.generation that this status speaks of."
    )
    conditions: Conditions = ()
    asOf: RecordedInstant | None = Field(
        default=None, description="Instant up to which events were known (RFC 3339, UTC)."
    )
    version: Sha256 | None = Field(
        default=None,
        description="Identity of the answer: hash of its definition and of the events that went into it.",
    )
    shortVersion: Annotated[str, StringConstraints(max_length=12)] | None = Field(
        default=None, description="The first 12 characters of `version`, for people."
    )
    definitionHash: Sha256 | None = Field(default=None, description="Hash of what was asked.")
    inputsHash: Sha256 | None = Field(default=None, description="Hash of the events that went into it.")
    inputCount: Count | None = Field(default=None, description="How many events went into it.")
    sampleEventIDs: tuple[Sha256, ...] = Field(
        default=(),
        max_length=10,
        description="Ids of some of these events.",
        json_schema_extra=ATOMIC,
    )
    rowCount: Count | None = Field(default=None, description="Rows of the result.")
    resultURI: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="s3:// URI of the result, in Parquet."
    )
    athena: AthenaStatus | None = Field(
        default=None, description="With engine Athena: what it reads and read."
    )
    difference: Difference | None = Field(default=None, description="Difference from `compareTo`, in events.")


class AggregateVersion(Resource):
    """One computed answer, for good: what an aggregate over a window was, as known at an instant."""

    KIND: ClassVar[str] = "AggregateVersion"
    PLURAL: ClassVar[str] = "aggregateversions"
    SHORT_NAME: ClassVar[str] = "av"
    COLUMNS: ClassVar[tuple[PrinterColumn, ...]] = (
        PrinterColumn(name="Ready", type="string", jsonPath='.status.conditions[?(@.type=="Ready")].status'),
        PrinterColumn(name="Version", type="string", jsonPath=".status.shortVersion"),
        PrinterColumn(name="Inputs", type="integer", jsonPath=".status.inputCount"),
        PrinterColumn(name="As of", type="string", jsonPath=".status.asOf"),
        PrinterColumn(name="Changed", type="integer", jsonPath=".status.difference.rowsChanged"),
        PrinterColumn(name="Age", type="date", jsonPath=".metadata.creationTimestamp"),
        PrinterColumn(
            name="Message",
            type="string",
            jsonPath='.status.conditions[?(@.type=="Ready")].message',
            wide=True,
        ),
    )

    spec: AggregateVersionSpec = Field(
        description="What is asked. Immutable but for `execution` and `suspend`."
    )
    status: AggregateVersionStatus = Field(
        default_factory=AggregateVersionStatus, description="What was observed of the version."
    )
