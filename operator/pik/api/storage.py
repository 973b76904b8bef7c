"""Where the events of a CaptureStream are kept: bucket, prefix, encryption, locks, retention, deletion."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from pik.api.common import BucketName, KeyPrefix, Value
from pik.api.rules import Rule, immutable, immutable_optional, rules


class BucketOrigin(StrEnum):
    CREATE = "Create"
    ADOPT = "Adopt"


class EncryptionType(StrEnum):
    S3_MANAGED = "S3Managed"
    KMS = "KMS"


class ObjectLockMode(StrEnum):
    GOVERNANCE = "Governance"
    COMPLIANCE = "Compliance"


class DeletionPolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class Bucket(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            immutable_optional("name"),
            immutable("origin"),
            Rule("self.origin != 'Adopt' || has(self.name)", "name is required when origin is Adopt", "name"),
        )
    )

    name: BucketName | None = Field(
        default=None,
        description="Name of the S3 bucket. Absent: a name is derived, and appears in "
        "status.storage.bucket. Immutable.",
    )
    origin: BucketOrigin = Field(
        default=BucketOrigin.CREATE,
        description="Create: pik makes the bucket, and refuses one that exists and is not its own. "
        "Adopt: the bucket exists, and pik touches what lies under its prefix only. Immutable.",
    )


class Encryption(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(self.type == 'KMS') == has(self.kmsKeyARN)",
                "kmsKeyARN is required when type is KMS, and only then",
                "kmsKeyARN",
            )
        )
    )

    type: EncryptionType = Field(
        default=EncryptionType.S3_MANAGED,
        description="S3Managed: keys that S3 holds (SSE-S3). KMS: the key named by kmsKeyARN (SSE-KMS).",
    )
    kmsKeyARN: (
        Annotated[
            str,
            StringConstraints(
                max_length=512,
                pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]+$",
            ),
        ]
        | None
    ) = Field(
        default=None, description="ARN of the KMS key or alias that encrypts new objects. Only with type KMS."
    )


class ObjectLock(Value):
    mode: ObjectLockMode = Field(
        description="Governance: people with a special permission may shorten the lock. "
        "Compliance: nobody may, and neither may this field be changed back."
    )
    days: Annotated[int, Field(ge=1, le=36500)] = Field(
        description="Days from its writing during which an object cannot be removed. Never lowered under "
        "Compliance."
    )


class Storage(Value):
    model_config = ConfigDict(
        json_schema_extra=rules(
            immutable("prefix"),
            immutable_optional("region"),
            Rule(
                "!has(oldSelf.objectLock) || oldSelf.objectLock.mode != 'Compliance' || "
                "(has(self.objectLock) && self.objectLock.mode == 'Compliance' && self.objectLock.days "
                ">= oldSelf.objectLock.days)",
                "a Compliance lock cannot be removed, changed to Governance or shortened",
                "objectLock",
            ),
            Rule(
                "!has(self.objectLock) || !has(self.retentionDays) || self.objectLock.days <= "
                "self.retentionDays",
                "objectLock.days must not exceed retentionDays: a locked object cannot expire",
                "objectLock",
            ),
            Rule(
                "self.deletionPolicy != 'Delete' || self.bucket.origin == 'Create'",
                "Delete is possible only with bucket.origin Create: pik deletes no bucket that it did "
                "not make",
                "deletionPolicy",
            ),
        )
    )

    bucket: Bucket = Field(
        default=Bucket(),
        description="The S3 bucket that holds the stream. Versioning is always on in it.",
    )
    prefix: KeyPrefix = Field(
        description="What every key of this stream in the bucket begins with, before a slash. "
        "Streams of one bucket have prefixes of their own. Immutable."
    )
    region: (
        Annotated[str, StringConstraints(max_length=32, pattern=r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$")] | None
    ) = Field(
        default=None,
        description="AWS region of bucket and table. Absent: the region of pik's own configuration. "
        "Immutable.",
    )
    encryption: Encryption = Field(default=Encryption(), description="How objects are encrypted at rest.")
    objectLock: ObjectLock | None = Field(
        default=None, description="S3 Object Lock of every raw object. Absent: objects are not locked."
    )
    retentionDays: Annotated[int, Field(ge=1, le=36500)] | None = Field(
        default=None,
        description="Days after which an event expires, counted from its ingest; raw and index together. "
        "Absent: events are kept for good.",
    )
    deletionPolicy: DeletionPolicy = Field(
        default=DeletionPolicy.RETAIN,
        description="What becomes of bucket and table when this object is deleted. Retain: both stay. "
        "Delete: both are removed with all their events (only with bucket.origin Create).",
    )
    tags: (
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=128)],
            Annotated[str, StringConstraints(max_length=256)],
        ]
        | None
    ) = Field(
        default=None,
        max_length=40,
        description="Tags of what pik creates. Keys: 1 to 128 characters, not beginning with aws: or "
        "pik.dev/.",
        json_schema_extra=rules(
            Rule("self.all(key, size(key) >= 1 && size(key) <= 128)", "keys must have 1 to 128 characters"),
            Rule(
                "self.all(key, !key.startsWith('aws:') && !key.startsWith('pik.dev/'))",
                "keys must not begin with aws: or pik.dev/, which are reserved",
            ),
        ),
    )
