"""What the three kinds share: the base of every value, bounded texts, references, windows, metadata.

Attributes carry the names of the manifest (camelCase, as the Kubernetes API conventions have it), so that
what is written in YAML is what is read in code; `from`, a Python keyword, is `from_`.

A spec refuses a field that it does not know: a field is left out rather than accepted and ignored. A status
drops what it does not know: it is written by the operator, and a newer one may have been there before.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pik.api.rules import Rule, RuledBy, rules

GROUP = "pik.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "pik"

DNS_1123_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
DNS_1123_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
RFC_3339_MICROSECONDS = (
    r"^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
HOURS_MINUTES_SECONDS = r"^([0-9]{1,6}h([0-9]{1,6}m)?([0-9]{1,6}s)?|[0-9]{1,6}m([0-9]{1,6}s)?|[0-9]{1,6}s)$"
SHA_256 = r"^[0-9a-f]{64}$"
FIELD_PATH = r"^[^.]+(\.[^.]+)*$"

InstantText = Annotated[
    str,
    StringConstraints(max_length=32, pattern=RFC_3339_MICROSECONDS),
    RuledBy(Rule("timestamp(self) < timestamp('9999-12-31T00:00:00Z')", "must be on a day that exists")),
]
"""An RFC 3339 instant with at most 6 fractional digits and an offset (`Z` or `±hh:mm`), kept as written."""

RecordedInstant = Annotated[str, StringConstraints(max_length=35)]
"""An RFC 3339 instant in UTC that pik wrote itself."""

DurationText = Annotated[str, StringConstraints(max_length=21, pattern=HOURS_MINUTES_SECONDS)]
"""Hours, minutes and seconds in that order, such as `1h30m` or `90s`."""

Name = Annotated[str, StringConstraints(max_length=253, pattern=DNS_1123_SUBDOMAIN)]
Namespace = Annotated[str, StringConstraints(max_length=63, pattern=DNS_1123_LABEL)]
Sha256 = Annotated[str, StringConstraints(max_length=64, pattern=SHA_256)]
FieldPath = Annotated[str, StringConstraints(max_length=256, pattern=FIELD_PATH)]
BucketName = Annotated[str, StringConstraints(min_length=3, max_length=63, pattern=DNS_1123_SUBDOMAIN)]
KeyPrefix = Annotated[
    str,
    StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9_=-]+([./][A-Za-z0-9_=-]+)*$"),
]
"""What S3 keys begin with: no slash at either end, no empty part, no dot before or after a slash."""

RoleARN = Annotated[
    str,
    StringConstraints(
        max_length=2048, pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,576}$"
    ),
]
SqlExpression = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
SqlCondition = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""A whole number that JSON carries exactly."""


# how lists merge under server-side apply; the API server refuses repeats in a set, and of a map's key
ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}


def list_map(key: str) -> dict[str, Any]:
    """A list whose items are known by `key`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def seconds_of(duration: str) -> int:
    """Seconds of a DurationText: `1h30m` is 5400. Raises ValueError for a text of another form."""
    match = re.fullmatch(r"(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?", duration)
    if match is None or not duration:
        raise ValueError(f"not hours, minutes and seconds, such as 1h30m: {duration!r}")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


class Toggle(StrEnum):
    ENABLED = "Enabled"
    DISABLED = "Disabled"


class Value(BaseModel):
    """A part of a spec: immutable, and strict about fields that it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        serialize_by_alias=True,
        defer_build=True,  # a validator is built at its first use, not at import
    )

    def to_manifest(self) -> dict[str, Any]:
        """This value as it stands in a manifest: absent fields left out, aliases used."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Observed(Value):
    """A part of a status: immutable; unknown fields, which a newer operator may have written, are dropped."""

    model_config = ConfigDict(extra="ignore")


class ObjectMeta(Observed):
    """The part of Kubernetes' ObjectMeta that pik reads. Its schema is the API server's, so no CRD has it."""

    name: str
    namespace: str = "default"
    uid: str | None = None
    generation: int | None = None
    resourceVersion: str | None = None
    creationTimestamp: str | None = None
    deletionTimestamp: str | None = None
    finalizers: tuple[str, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class StreamRef(Value):
    name: Name = Field(description="Name of the CaptureStream.")
    namespace: Namespace | None = Field(
        default=None,
        description="Namespace of the CaptureStream, whose `access` must allow this one. "
        "Absent: the namespace of this object.",
    )


class SecretRef(Value):
    name: Name = Field(description="Name of the Secret.")


FROM_BEFORE_TO = Rule("timestamp(self.from) < timestamp(self.to)", "from must be before to")


class Window(Value):
    """A half-open span of time `[from, to)`."""

    model_config = ConfigDict(json_schema_extra=rules(FROM_BEFORE_TO))

    from_: InstantText = Field(
        alias="from", description="First instant of the window (RFC 3339, at most 6 fractional digits)."
    )
    to: InstantText = Field(
        description="First instant after the window, which is half-open (RFC 3339, at most 6 fractional "
        "digits)."
    )


class StatusCondition(Observed):
    """metav1.Condition."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="Name of the condition, in CamelCase."
    )
    status: Annotated[str, StringConstraints(max_length=7, pattern="^(True|False|Unknown)$")] = Field(
        description="Whether it holds: True, False or Unknown."
    )
    observedGeneration: Count | None = Field(
        default=None, description="The metadata.generation that this condition was set for."
    )
    lastTransitionTime: Annotated[str, StringConstraints(max_length=35)] = Field(
        description="When `status` last changed (RFC 3339, UTC).", json_schema_extra={"format": "date-time"}
    )
    reason: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="Why, in one CamelCase word that the documentation lists."
    )
    message: Annotated[str, StringConstraints(max_length=32768)] = Field(description="Why, for a person.")


Conditions = Annotated[
    tuple[StatusCondition, ...],
    Field(
        max_length=16,
        description="Conditions of this object; a type stands here at most once.",
        json_schema_extra=list_map("type"),
    ),
]


class PrinterColumn(BaseModel):
    """One column of `kubectl get`: `wide` ones are shown with `-o wide` only."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    jsonPath: str
    wide: bool = False


class Resource(Value):
    """A whole object. Subclasses name their kind and declare `spec` and `status`."""

    model_config = ConfigDict(extra="ignore")

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    SHORT_NAME: ClassVar[str]
    COLUMNS: ClassVar[tuple[PrinterColumn, ...]]

    metadata: ObjectMeta

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Self:
        """The typed object of an admitted manifest.

        Raises pydantic.ValidationError for one that neither pik.api.validation nor an API server admitted.
        """
        return cls.model_validate(manifest)
