"""What single abilities need: each a few statements on one stream's bucket and table.

Every object that pik writes is put with a condition: that there is none at the key (`If-None-Match`), or, of
owner records and of what sends to a target now, that it is the one that was read (`If-Match`). The rights ask
for it too, so that whoever has them can replace nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pik.planning.iam.places import ANY, Place, Realm
from pik.planning.iam.statements import Condition, Statement
from pik.planning.trino.tables import DATABASE, table_name

_INDEX = "by_entity"  # the table's secondary index
_BY_ATHENA = "Athena does it, with the rights of whoever starts the query"
_NEW = Condition("Null", "s3:if-none-match", ("false",))
_UNCHANGED = Condition("Null", "s3:if-match", ("false",))


def read(place: Place, realm: Realm, *keys: str) -> list[Statement]:
    """Objects under the prefix: those that these patterns name. That S3 says "not found" of what is not
    there, and not "denied", takes the right to list; it asks for that without a prefix."""
    bucket = realm.bucket(place.bucket)
    own = _objects(place, realm, keys)
    listing = (Condition("StringLikeIfExists", "s3:prefix", (f"{place.prefix}/*",)),)
    return [
        Statement("Read", ("s3:GetObject",), own),
        Statement("List", ("s3:ListBucket",), (bucket,), () if place.prefix == ANY else listing),
        *_keys(place, "kms:Decrypt"),
    ]


def write(place: Place, realm: Realm, *keys: str) -> list[Statement]:
    """New objects under the prefix."""
    return [
        Statement("Write", ("s3:PutObject",), _objects(place, realm, keys), (_NEW,)),
        *_keys(place, "kms:GenerateDataKey"),
    ]


def capture(place: Place, realm: Realm) -> list[Statement]:
    """Events become segments of raw, are decided, and answered: the owner's record is looked at before each
    answer, a first arrival where another is held against it, a run's record where an arrival says that it is
    a replay, and the index's generations where it was rebuilt meanwhile."""
    locking = [Statement("Lock", ("s3:PutObjectRetention",), _objects(place, realm, ["raw/*"]))]
    deciding = ("dynamodb:PartiQLInsert", "dynamodb:BatchGetItem") if place.decides else ()
    return [
        *write(place, realm, "raw/*"),
        *(locking if place.locks else []),
        *read(place, realm, "raw/*", "owner.json", "runs/*", "generations/*"),
        Statement(
            "Index",
            ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:ConditionCheckItem", *deciding),
            _table(place, realm),
        ),
    ]


def replay(place: Place, realm: Realm) -> list[Statement]:
    """A shard of a run: its events are read, and its lease, ledger, checkpoints and end kept."""
    return [
        *write(place, realm, "runs/*"),
        *read(place, realm, "*"),
        Statement("Index", ("dynamodb:PutItem", "dynamodb:DeleteItem"), _table(place, realm)),
    ]


def plan(place: Place, realm: Realm) -> list[Statement]:
    """A slice is looked through, its plan and the record of its run kept, and that it sends to its target
    now."""
    return [
        *write(place, realm, "runs/*", "targets/*"),
        Statement("Replace", ("s3:PutObject",), _objects(place, realm, ["targets/*"]), (_UNCHANGED,)),
        *read(place, realm, "*"),
        Statement("Index", ("dynamodb:GetItem", "dynamodb:Query"), _table(place, realm)),
        *_by_entity(place, realm),
    ]


def aggregate(place: Place, realm: Realm) -> list[Statement]:
    """A version is computed, compared and kept."""
    return [
        *write(place, realm, "aggregates/*", "snapshots/*"),
        *read(place, realm, "*"),
        Statement("Index", ("dynamodb:GetItem", "dynamodb:Query"), _table(place, realm)),
    ]


def query(place: Place, realm: Realm, work_groups: Sequence[str]) -> list[Statement]:
    """A version is computed by Athena, which reads the table and the segments, and keeps results, with the
    rights of whoever asks."""
    if not work_groups:
        return []
    results = _objects(place, realm, ["athena/*"])
    return [
        Statement(
            "Query",
            (
                *("athena:StartQueryExecution", "athena:StopQueryExecution"),
                *("athena:GetQueryExecution", "athena:GetQueryResults"),
            ),
            tuple(realm.arn("athena", f"workgroup/{name}", place.region) for name in work_groups),
        ),
        Statement(
            "ByAthena",
            ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
            results,
            unproved=_BY_ATHENA,
        ),
        Statement("ByAthena", ("s3:GetBucketLocation",), (realm.bucket(place.bucket),), unproved=_BY_ATHENA),
        Statement(
            "ByAthena",
            ("glue:GetDatabase", "glue:GetTable", "glue:GetPartitions"),
            _catalog(place, realm),
            unproved=_BY_ATHENA,
        ),
    ]


def keep_table(place: Place, realm: Realm, work_groups: Sequence[str]) -> list[Statement]:
    """The stream's table in Glue, where versions are computed by Athena."""
    if not work_groups:
        return []
    return [
        Statement(
            "Catalog",
            (
                *("glue:GetDatabase", "glue:CreateDatabase"),
                *("glue:GetTable", "glue:CreateTable", "glue:UpdateTable"),
                *(("glue:DeleteTable",) if place.deletes else ()),
            ),
            _catalog(place, realm),
        )
    ]


def keep(place: Place, realm: Realm) -> list[Statement]:
    """The operator's work on a stream: who owns it, its index, its seals; plans, records and ends of runs,
    and which of them send to a target now; what aggregates ask. It writes no raw."""
    replaced = ("owner.json", "targets/*")
    outer = tuple(f"{realm.bucket(place.bucket)}/{prefix}owner.json" for prefix in place.outer)
    return [
        *write(place, realm, *replaced, "generations/*", "seals/*", "runs/*", "aggregates/*"),
        Statement("Replace", ("s3:PutObject",), _objects(place, realm, replaced), (_UNCHANGED,)),
        *read(place, realm, "*"),
        Statement("OuterOwners", ("s3:GetObject",), outer),
        Statement(
            "Index",
            (
                *("dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem"),
                "dynamodb:ConditionCheckItem",
            ),
            _table(place, realm),
        ),
        *_by_entity(place, realm),
    ]


def set_up(place: Place, realm: Realm) -> list[Statement]:
    """The bucket's settings and the table, looked at and set right."""
    bucket = (realm.bucket(place.bucket),)
    looks = (
        *("s3:GetBucketVersioning", "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration"),
        *("s3:GetBucketTagging", "s3:GetBucketPublicAccessBlock", "s3:GetBucketObjectLockConfiguration"),
        "s3:ListBucketVersions",
    )
    sets = (
        *("s3:CreateBucket", "s3:PutBucketVersioning", "s3:PutEncryptionConfiguration"),
        *("s3:PutBucketTagging", "s3:PutBucketPublicAccessBlock"),
        *(("s3:PutBucketObjectLockConfiguration",) if place.locks else ()),
    )
    return [
        Statement("LookAtBucket", looks, bucket),
        Statement("SetUpBucket", ("s3:PutLifecycleConfiguration", *(sets if place.creates else ())), bucket),
        Statement(
            "SetUpTable",
            (
                *("dynamodb:CreateTable", "dynamodb:DescribeTable", "dynamodb:UpdateTable"),
                *("dynamodb:DescribeContinuousBackups", "dynamodb:UpdateContinuousBackups"),
                *("dynamodb:DescribeTimeToLive", "dynamodb:UpdateTimeToLive"),
                *("dynamodb:ListTagsOfResource", "dynamodb:TagResource"),
            ),
            _table(place, realm),
        ),
    ]


def remove(place: Place, realm: Realm) -> list[Statement]:
    """Bucket and table go with their object, where `deletionPolicy` is Delete and nobody else has a stream in
    the bucket: all of it is looked through for owners' records."""
    if not place.deletes:
        return []
    bucket = realm.bucket(place.bucket)
    return [
        Statement("AllOwners", ("s3:GetObject",), (f"{bucket}/*owner.json",)),
        Statement("AllOwners", ("s3:ListBucket",), (bucket,)),
        Statement("DeleteBucket", ("s3:DeleteBucket",), (bucket,)),
        Statement("DeleteObjects", ("s3:DeleteObjectVersion",), (f"{bucket}/*",)),
        Statement("DeleteTable", ("dynamodb:DeleteTable",), _table(place, realm)),
    ]


def assume(place: Place) -> list[Statement]:
    """A stream with `roleARN` is worked on in that role, and with its rights."""
    return [Statement("Assume", ("sts:AssumeRole",), (place.role,))] if place.role else []


def _catalog(place: Place, realm: Realm) -> tuple[str, ...]:
    names = ("catalog", f"database/{DATABASE}", f"table/{DATABASE}/{table_name(ANY)}")
    return tuple(realm.arn("glue", name, place.region) for name in names)


def _objects(place: Place, realm: Realm, keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{realm.bucket(place.bucket)}/{place.prefix}/{key}" for key in keys)


def _table(place: Place, realm: Realm) -> tuple[str, ...]:
    return (realm.arn("dynamodb", f"table/{place.table}", place.region),)


def _by_entity(place: Place, realm: Realm) -> list[Statement]:
    """An entity's events, which a plan finds by the index where that has them."""
    if not place.decides:
        return []
    (table,) = _table(place, realm)
    return [Statement("ByEntity", ("dynamodb:Query",), (f"{table}/index/{_INDEX}",))]


def _keys(place: Place, action: str) -> list[Statement]:
    """The key that the bucket's objects are encrypted with, used by S3 alone."""
    if place.kms_key is None:
        return []
    region = place.kms_key.split(":")[3]
    via = Condition("StringEquals", "kms:ViaService", (f"s3.{region}.amazonaws.com",))
    return [Statement("Key", (action,), (place.kms_key,), (via,))]
