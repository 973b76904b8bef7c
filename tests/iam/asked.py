"""What AWS asks of a caller's rights for an operation: actions, on what, with which of the request's details.
By the service authorization reference and each API's page; a service is added as lines of `_ASKED`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from iam import asked_of_feeds
from iam.account import ACCOUNT
from iam.asking import PARTITION, Ask, Asked, Surroundings, asks
from iam.operations import Operation


class Unlisted(LookupError):
    """An operation that no line says the rights of."""


def asked_by(operation: Operation, around: Surroundings) -> list[Asked]:
    """Raises `Unlisted`."""
    ask = _ASKED.get(operation.full_name)
    if ask is None:
        raise Unlisted(f"{operation.full_name}: say in tests/iam/asked.py what it asks for")
    return list(ask(operation, around))


# S3


def _bucket(operation: Operation) -> str:
    return f"arn:{PARTITION}:s3:::{operation.given['Bucket']}"


def _on_bucket(*actions: str) -> Ask:
    def ask(operation: Operation, _: Surroundings) -> Iterable[Asked]:
        return [asks(operation, action, _bucket(operation)) for action in actions]

    return ask


def _create_bucket(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    yield asks(operation, "s3:CreateBucket", _bucket(operation))
    if operation.given.get("ObjectLockEnabledForBucket", "").lower() == "true":
        yield asks(operation, "s3:PutBucketObjectLockConfiguration", _bucket(operation), True)
        yield asks(operation, "s3:PutBucketVersioning", _bucket(operation), True)


def _list(action: str) -> Ask:
    def ask(operation: Operation, _: Surroundings) -> Iterable[Asked]:
        prefix = {} if "Prefix" not in operation.given else {"s3__prefix": operation.given["Prefix"]}
        yield asks(operation, action, _bucket(operation), **prefix)

    return ask


def _put_object(operation: Operation, around: Surroundings) -> Iterable[Asked]:
    given = operation.given
    conditions = {"IfNoneMatch": "s3__if_none_match", "IfMatch": "s3__if_match"}
    context = {name: given[member] for member, name in conditions.items() if member in given}
    resource = f"{_bucket(operation)}/{given['Key']}"
    yield asks(operation, "s3:PutObject", resource, **context)
    if "ObjectLockMode" in given:
        yield asks(operation, "s3:PutObjectRetention", resource, True)
    yield from _encrypted(operation, around, "kms:GenerateDataKey")


def _get_object(operation: Operation, around: Surroundings) -> Iterable[Asked]:
    yield asks(operation, "s3:GetObject", f"{_bucket(operation)}/{operation.given['Key']}")
    if operation.status == 404:
        yield asks(operation, "s3:ListBucket", _bucket(operation), True)  # else it would be 403
    elif operation.name == "GetObject":
        yield from _encrypted(operation, around, "kms:Decrypt")


def _encrypted(operation: Operation, around: Surroundings, action: str) -> Iterable[Asked]:
    key = around.keys.get(operation.given["Bucket"])
    if key is not None:
        via = f"s3.{operation.region}.amazonaws.com"
        yield asks(operation, action, key, True, kms__ViaService=via)


def _delete_objects(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    given = operation.given
    versions = [*given["VersionIds"], *[None] * (len(given["Keys"]) - len(given["VersionIds"]))]
    for key, version in zip(given["Keys"], versions, strict=True):
        action = "s3:DeleteObject" if version is None else "s3:DeleteObjectVersion"
        yield asks(operation, action, f"{_bucket(operation)}/{key}")


# DynamoDB

_PARTIQL = {"INSERT": "PartiQLInsert", "UPDATE": "PartiQLUpdate", "DELETE": "PartiQLDelete"}
_STATEMENT = re.compile(r"(?P<verb>\w+) INTO \"(?P<table>[^\"]+)\"")
_PARTS = {
    "Put": "PutItem",
    "Delete": "DeleteItem",
    "Update": "UpdateItem",
    "ConditionCheck": "ConditionCheckItem",
}


def _table(operation: Operation, name: str, index: str | None = None) -> str:
    if name.startswith("arn:"):
        return name
    place = f"table/{name}" + (f"/index/{index}" if index else "")
    return f"arn:{PARTITION}:dynamodb:{operation.region}:{ACCOUNT}:{place}"


def _on_table(*actions: str) -> Ask:
    def ask(operation: Operation, _: Surroundings) -> Iterable[Asked]:
        given = operation.given
        table = _table(operation, given.get("TableName") or given["ResourceArn"], given.get("IndexName"))
        return [asks(operation, f"dynamodb:{action}", table) for action in actions]

    return ask


def _create_table(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    table = _table(operation, operation.given["TableName"])
    yield asks(operation, "dynamodb:CreateTable", table)
    if operation.given.get("Tags"):
        yield asks(operation, "dynamodb:TagResource", table, True)


def _statements(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    for statement in operation.given["Statements"]:
        read = _STATEMENT.match(statement["Statement"])
        assert read is not None, statement["Statement"]
        yield asks(operation, f"dynamodb:{_PARTIQL[read['verb']]}", _table(operation, read["table"]))


def _batch_get(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    return [
        asks(operation, "dynamodb:BatchGetItem", _table(operation, name))
        for name in operation.given["RequestItems"]
    ]


def _transaction(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    for item in operation.given["TransactItems"]:
        for part, body in item.items():
            yield asks(operation, f"dynamodb:{_PARTS[part]}", _table(operation, body["TableName"]))


# others


def _to_queue(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    name = operation.given["QueueUrl"].rsplit("/", 1)[-1]
    yield asks(operation, "sqs:SendMessage", f"arn:{PARTITION}:sqs:{operation.region}:{ACCOUNT}:{name}")


def _to_stream(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    given = operation.given
    named = f"arn:{PARTITION}:kinesis:{operation.region}:{ACCOUNT}:stream/{given.get('StreamName')}"
    yield asks(operation, "kinesis:PutRecords", given.get("StreamARN", named))


def _to_bus(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    for bus in {entry["EventBusName"] for entry in operation.given["Entries"]}:
        named = f"arn:{PARTITION}:events:{operation.region}:{ACCOUNT}:event-bus/{bus}"
        yield asks(operation, "events:PutEvents", bus if bus.startswith("arn:") else named)


def _in_work_group(operation: Operation, around: Surroundings) -> Iterable[Asked]:
    given = operation.given
    name = given.get("WorkGroup") or around.work_group
    place = f"arn:{PARTITION}:athena:{operation.region}:{ACCOUNT}:workgroup/{name}"
    yield asks(operation, f"athena:{operation.name}", place)


def _in_catalog(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    given = operation.given
    database = given.get("DatabaseName") or given.get("Name") or given["DatabaseInput"]["Name"]
    names = ["catalog", f"database/{database}"]
    if "DatabaseName" in given:
        table = given.get("Name") or given["TableInput"]["Name"]
        names.append(f"table/{database}/{table}")
    for number, name in enumerate(names):
        place = f"arn:{PARTITION}:glue:{operation.region}:{ACCOUNT}:{name}"
        yield asks(operation, f"glue:{operation.name}", place, number > 0)


def _assume(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    given = operation.given
    yield asks(operation, "sts:AssumeRole", given["RoleArn"], sts__ExternalId=given["ExternalId"])


_ASKED: dict[str, Ask] = {
    **asked_of_feeds.ASKED,
    "s3:CreateBucket": _create_bucket,
    "s3:DeleteBucket": _on_bucket("s3:DeleteBucket"),
    "s3:DeleteObjects": _delete_objects,
    "s3:GetBucketEncryption": _on_bucket("s3:GetEncryptionConfiguration"),
    "s3:GetBucketLifecycleConfiguration": _on_bucket("s3:GetLifecycleConfiguration"),
    "s3:GetBucketTagging": _on_bucket("s3:GetBucketTagging"),
    "s3:GetBucketVersioning": _on_bucket("s3:GetBucketVersioning"),
    "s3:GetObject": _get_object,
    "s3:GetObjectLockConfiguration": _on_bucket("s3:GetBucketObjectLockConfiguration"),
    "s3:GetPublicAccessBlock": _on_bucket("s3:GetBucketPublicAccessBlock"),
    "s3:HeadBucket": _on_bucket("s3:ListBucket"),
    "s3:HeadObject": _get_object,
    "s3:ListObjectVersions": _list("s3:ListBucketVersions"),
    "s3:ListObjectsV2": _list("s3:ListBucket"),
    "s3:PutBucketEncryption": _on_bucket("s3:PutEncryptionConfiguration"),
    "s3:PutBucketLifecycleConfiguration": _on_bucket("s3:PutLifecycleConfiguration"),
    "s3:PutBucketTagging": _on_bucket("s3:PutBucketTagging"),
    "s3:PutBucketVersioning": _on_bucket("s3:PutBucketVersioning"),
    "s3:PutObject": _put_object,
    "s3:PutObjectLockConfiguration": _on_bucket("s3:PutBucketObjectLockConfiguration"),
    "s3:PutPublicAccessBlock": _on_bucket("s3:PutBucketPublicAccessBlock"),
    "dynamodb:BatchExecuteStatement": _statements,
    "dynamodb:BatchGetItem": _batch_get,
    "dynamodb:CreateTable": _create_table,
    "dynamodb:TransactWriteItems": _transaction,
    **{
        f"dynamodb:{name}": _on_table(name)
        for name in (
            *(
                "DeleteItem",
                "DeleteTable",
                "DescribeContinuousBackups",
                "DescribeTable",
                "DescribeTimeToLive",
            ),
            *("GetItem", "ListTagsOfResource", "PutItem", "Query", "TagResource"),
            *("UpdateContinuousBackups", "UpdateTable", "UpdateTimeToLive"),
        )
    },
    **{
        f"athena:{name}": _in_work_group
        for name in (
            "GetQueryExecution",
            "GetQueryResults",
            "StartQueryExecution",
            "StopQueryExecution",
        )
    },
    **{
        f"glue:{name}": _in_catalog
        for name in ("CreateDatabase", "CreateTable", "DeleteTable", "GetDatabase", "GetTable", "UpdateTable")
    },
    "events:PutEvents": _to_bus,
    "kinesis:PutRecords": _to_stream,
    "sqs:SendMessageBatch": _to_queue,
    "sts:AssumeRole": _assume,
}
LISTED = frozenset(_ASKED)
