"""What has to be done so that bucket and table are as a CaptureStream wants them. Pure.

pik owns what it made: the bucket's settings where it created the bucket, its own lifecycle rules (by their
ids), its own tags (those of the spec, and `pik.dev/…`), and the table. Everything else is left as it is. A
tag that was taken out of the spec stays, since nothing says any more whose it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from pik.api.capture_stream import CaptureStreamSpec
from pik.api.common import Toggle
from pik.api.storage import BucketOrigin, DeletionPolicy, EncryptionType
from pik.domain.errors import BucketTaken, DataLost, NoSuchBucket, OwnershipConflict, Unusable
from pik.planning import drift

NONCURRENT_DAYS = 7  # that what was replaced or deleted by hand can be brought back
_ABORT_UPLOAD_DAYS = 1
_TAG_VALUE = 256  # characters
OWNER_TAG = "pik.dev/owner"
STREAM_TAG = "pik.dev/stream"
_RETENTION_TAG = "pik.dev/retention-days"  # after how many days, at the earliest, entries of the table expire
_FOR_GOOD = "none"
_RULE = "pik:"  # what the ids of our lifecycle rules begin with


class Names(msgspec.Struct, frozen=True):
    """Who wants the storage, and what it is called."""

    cluster: str
    namespace: str
    name: str
    bucket: str
    prefix: str  # ends with a slash

    @property
    def owner(self) -> str:
        return f"{self.cluster}/{self.namespace}/{self.name}"


class Encryption(msgspec.Struct, frozen=True):
    """Of new objects, by default."""

    kms_key: str | None = None  # None: keys that S3 holds


class LifecycleRule(msgspec.Struct, frozen=True):
    """An enabled rule that does this and nothing else."""

    prefix: str
    expire_days: int | None  # after an object's creation
    noncurrent_days: int | None  # after it was replaced or deleted
    abort_upload_days: int | None


OTHER_RULE = LifecycleRule("", None, None, None)
"""Stands for a rule that `LifecycleRule` cannot say."""


class ObservedBucket(msgspec.Struct, frozen=True):
    """A bucket as it is, AWS's defaults made explicit."""

    versioning: bool = False
    encryption: Encryption = Encryption()
    object_lock: bool | None = False  # whether objects can be locked; None: not looked at
    public_access_blocked: bool = False  # AWS blocks it in a new bucket, other makers of S3 do not
    rules: dict[str, LifecycleRule] = {}  # by id
    tags: dict[str, str] = {}
    empty: bool | None = True  # no object, no version; None: not looked at


class ObservedTable(msgspec.Struct, frozen=True):
    """A table as it is."""

    on_demand: bool = True
    point_in_time_recovery: bool = False
    time_to_live: bool = False  # by pik's attribute
    deletion_protection: bool = False
    tags: dict[str, str] = {}
    fitting: bool = True  # keys and secondary index are those of pik's index


# Actions. Each may be done again; those on tags and rules say only what is ours.


class CreateBucket(msgspec.Struct, frozen=True, tag=True):
    bucket: str
    object_lock: bool


class SetVersioning(msgspec.Struct, frozen=True, tag=True):
    bucket: str


class SetEncryption(msgspec.Struct, frozen=True, tag=True):
    bucket: str
    encryption: Encryption


class EnableObjectLock(msgspec.Struct, frozen=True, tag=True):
    bucket: str


class BlockPublicAccess(msgspec.Struct, frozen=True, tag=True):
    bucket: str


class SetRules(msgspec.Struct, frozen=True, tag=True):
    bucket: str
    rules: dict[str, LifecycleRule | None]  # by id; None: none of this id


class SetBucketTags(msgspec.Struct, frozen=True, tag=True):
    bucket: str
    tags: dict[str, str]


class CreateTable(msgspec.Struct, frozen=True, tag=True):
    table: str
    tags: dict[str, str]
    protected: bool  # against deletion


class SetOnDemand(msgspec.Struct, frozen=True, tag=True):
    table: str


class SetPointInTimeRecovery(msgspec.Struct, frozen=True, tag=True):
    table: str
    enabled: bool


class SetTimeToLive(msgspec.Struct, frozen=True, tag=True):
    table: str


class SetDeletionProtection(msgspec.Struct, frozen=True, tag=True):
    table: str
    enabled: bool


class SetTableTags(msgspec.Struct, frozen=True, tag=True):
    table: str
    tags: dict[str, str]


BucketAction = (
    CreateBucket
    | SetVersioning
    | SetEncryption
    | EnableObjectLock
    | BlockPublicAccess
    | SetRules
    | SetBucketTags
)
TableAction = (
    CreateTable | SetOnDemand | SetPointInTimeRecovery | SetTimeToLive | SetDeletionProtection | SetTableTags
)
Action = BucketAction | TableAction


Difference = drift.Difference[Action]


def bucket_name(spec: CaptureStreamSpec, cluster: str, namespace: str, name: str) -> str:
    """The bucket's name: the spec's, or one that is derived and the same every time."""
    if spec.storage.bucket.name is not None:
        return spec.storage.bucket.name
    digest = sha256(f"{cluster}/{namespace}/{name}".encode()).hexdigest()[:16]
    return _derived_bucket(namespace, name, digest)


def bucket_pattern(spec: CaptureStreamSpec, namespace: str, name: str) -> str:
    """The bucket's name as far as it does not depend on the cluster's, and `*` for the rest."""
    return spec.storage.bucket.name or _derived_bucket(namespace, name, "*")


def _derived_bucket(namespace: str, name: str, digest: str) -> str:
    return f"pik-{readable(f'{namespace}-{name}', 42)}-{digest}"


def table_name(spec: CaptureStreamSpec, name: str, stream_id: str) -> str:
    """The table's name: the spec's, or one that is derived and no other stream's."""
    if spec.index.tableName is not None:
        return spec.index.tableName
    return f"pik-{readable(name, 200)}-{stream_id}"


def bucket_differences(
    spec: CaptureStreamSpec,
    names: Names,
    observed: ObservedBucket | None,
    *,
    owned: bool,
    known_stream: str | None,
) -> list[Difference]:
    """What is not as the spec has it, in the order in which it is to be set right.

    `owned`: the owner record under the prefix names this stream. `known_stream`: the id of the stream, where
    it has had one already. Raises `DataLost`, `NoSuchBucket` (to be adopted, but absent), `BucketTaken`,
    `Unusable`.
    """
    creates = spec.storage.bucket.origin is BucketOrigin.CREATE
    if observed is None:
        if known_stream is not None:
            raise DataLost(f"the bucket {names.bucket} of stream {known_stream} is gone")
        if not creates:
            raise NoSuchBucket(f"there is no bucket {names.bucket} to adopt")
        create = CreateBucket(names.bucket, object_lock=spec.storage.objectLock is not None)
        fresh = ObservedBucket(object_lock=create.object_lock)
        return [
            Difference(names.bucket, "bucket", create),
            *bucket_differences(spec, names, fresh, owned=owned, known_stream=None),
        ]
    if creates and not owned and not _is_ours(names, observed):
        raise BucketTaken(
            f"there is a bucket {names.bucket} already, which this stream did not make: "
            "name another one, or set storage.bucket.origin to Adopt"
        )
    actions = _settings(spec, names, observed) if creates else _conditions(spec, names, observed)
    rules = _rules(spec, names.prefix)
    if {rule: observed.rules.get(rule) for rule in rules} != rules:
        actions.append(("lifecycle", SetRules(names.bucket, rules)))
    return [Difference(names.bucket, field, action) for field, action in actions]


def table_differences(
    spec: CaptureStreamSpec, names: Names, table: str, stream_id: str, observed: ObservedTable | None
) -> list[Difference]:
    """What is not as the spec has it, in the order in which it is to be set right.

    An absent table is made anew: all that it holds is rebuilt from raw. Raises `OwnershipConflict`,
    `Unusable`.
    """
    tags = {**(spec.storage.tags or {}), **_owner_tags(names), STREAM_TAG: stream_id}
    if observed is None or not _lengthened(spec, observed):
        tags[_RETENTION_TAG] = _retention(spec)
    if observed is None:
        create = CreateTable(table, tags, spec.storage.deletionPolicy is DeletionPolicy.RETAIN)
        fresh = ObservedTable(tags=tags, deletion_protection=create.protected)
        return [
            Difference(table, "table", create),
            *table_differences(spec, names, table, stream_id, fresh),
        ]
    if not is_of_stream(observed, stream_id):
        holder = observed.tags.get(STREAM_TAG)
        raise OwnershipConflict(
            f"the table {table} is "
            + ("not one that pik made" if holder is None else f"of another stream ({holder})")
            + ": name another one in index.tableName"
        )
    if not observed.fitting:
        raise Unusable(
            f"the table {table} has other keys or indexes than pik gave it: delete it, and it is rebuilt"
        )
    recovery = spec.index.pointInTimeRecovery is Toggle.ENABLED
    protection = spec.storage.deletionPolicy is DeletionPolicy.RETAIN
    wanted: list[tuple[str, bool, Action]] = [
        ("billingMode", observed.on_demand, SetOnDemand(table)),
        ("timeToLive", observed.time_to_live, SetTimeToLive(table)),
        (
            "pointInTimeRecovery",
            observed.point_in_time_recovery == recovery,
            SetPointInTimeRecovery(table, recovery),
        ),
        (
            "deletionProtection",
            observed.deletion_protection == protection,
            SetDeletionProtection(table, protection),
        ),
        ("tags", tags.items() <= observed.tags.items(), SetTableTags(table, tags)),
    ]
    return [Difference(table, field, action) for field, right, action in wanted if not right]


def longer_retention(spec: CaptureStreamSpec, table: str, observed: ObservedTable) -> SetTableTags | None:
    """Where the spec keeps events longer than the table's entries live: reindex, so that no entry expires
    before its event, and then do this. None where there is nothing to do."""
    return SetTableTags(table, {_RETENTION_TAG: _retention(spec)}) if _lengthened(spec, observed) else None


def _lengthened(spec: CaptureStreamSpec, observed: ObservedTable) -> bool:
    recorded = observed.tags.get(_RETENTION_TAG)
    wanted = _retention(spec)
    if recorded is None or recorded == wanted:
        return recorded is None
    return wanted == _FOR_GOOD or (recorded != _FOR_GOOD and int(wanted) > int(recorded))


def _retention(spec: CaptureStreamSpec) -> str:
    days = spec.storage.retentionDays
    return _FOR_GOOD if days is None else str(days)


def _settings(spec: CaptureStreamSpec, names: Names, observed: ObservedBucket) -> list[tuple[str, Action]]:
    """Of a bucket that pik made, all settings are ours."""
    kms = spec.storage.encryption.type is EncryptionType.KMS
    encryption = Encryption(spec.storage.encryption.kmsKeyARN if kms else None)
    tags = {**(spec.storage.tags or {}), **_owner_tags(names)}
    lock = spec.storage.objectLock is not None
    wanted: list[tuple[str, bool, Action]] = [
        # the tags first: they tell a bucket whose making was cut off from somebody else's
        ("tags", tags.items() <= observed.tags.items(), SetBucketTags(names.bucket, tags)),
        ("publicAccess", observed.public_access_blocked, BlockPublicAccess(names.bucket)),
        ("versioning", observed.versioning, SetVersioning(names.bucket)),
        # what was turned on stays on: S3 knows no way back
        ("objectLock", observed.object_lock is not False or not lock, EnableObjectLock(names.bucket)),
        ("encryption", observed.encryption == encryption, SetEncryption(names.bucket, encryption)),
    ]
    return [(field, action) for field, right, action in wanted if not right]


def _conditions(spec: CaptureStreamSpec, names: Names, observed: ObservedBucket) -> list[tuple[str, Action]]:
    """Of an adopted bucket, the settings are its owner's."""
    if not observed.versioning:
        raise Unusable(f"versioning is off in the bucket {names.bucket}: turn it on")
    if spec.storage.objectLock is not None and observed.object_lock is False:
        raise Unusable(f"Object Lock is off in the bucket {names.bucket}: turn it on")
    if spec.storage.encryption.type is EncryptionType.KMS and (
        observed.encryption.kms_key != spec.storage.encryption.kmsKeyARN
    ):
        raise Unusable(f"the bucket {names.bucket} does not encrypt with {spec.storage.encryption.kmsKeyARN}")
    return []


def _rules(spec: CaptureStreamSpec, prefix: str) -> dict[str, LifecycleRule | None]:
    """Ours, by their ids. Only raw expires: records of generations and runs are kept for good."""
    days = spec.storage.retentionDays
    return {
        f"{_RULE}{prefix}": LifecycleRule(prefix, None, NONCURRENT_DAYS, _ABORT_UPLOAD_DAYS),
        # a day later than readers drop it, whatever their clocks say
        f"{_RULE}{prefix}raw": None if days is None else LifecycleRule(f"{prefix}raw/", days + 1, None, None),
    }


def _is_ours(names: Names, observed: ObservedBucket) -> bool:
    """By its tags; or it holds nothing at all, as one does whose making was cut off."""
    return is_made_for(names, observed) or (observed.empty is True and not observed.tags)


def is_made_for(names: Names, observed: ObservedBucket) -> bool:
    """Whether the bucket's tags say that it was made for this stream."""
    return _owner_tags(names).items() <= observed.tags.items()


def is_of_stream(observed: ObservedTable, stream_id: str) -> bool:
    """Whether the table's tags say that it is the index of this stream."""
    return observed.tags.get(STREAM_TAG) == stream_id


def _owner_tags(names: Names) -> dict[str, str]:
    return {OWNER_TAG: owner_tag(names.owner)}


def owner_tag(owner: str) -> str:
    """A tag's value for an owner; for one that is too long its hash."""
    return owner if len(owner) <= _TAG_VALUE else sha256(owner.encode()).hexdigest()


def prefixes_of(rules: Iterable[str]) -> list[str]:
    """The prefixes that streams have in a bucket, by the ids of the lifecycle rules that each has there."""
    ids = (id_.removeprefix(_RULE) for id_ in rules if id_.startswith(_RULE))
    return sorted(prefix for prefix in ids if prefix.endswith("/"))


def readable(text: str, length: int) -> str:
    """What of it may stand in a name, cut to `length`."""
    return text.replace(".", "-")[:length].strip("-")
