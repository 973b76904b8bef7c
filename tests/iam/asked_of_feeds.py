"""What AWS asks for of operations on functions, queues, data streams and event buses; as `asked`."""

from __future__ import annotations

from collections.abc import Iterable

from iam.account import ACCOUNT
from iam.asking import PARTITION, Ask, Asked, Surroundings, asks
from iam.operations import Operation


def _arn(operation: Operation, service: str, resource: str) -> str:
    return f"arn:{PARTITION}:{service}:{operation.region}:{ACCOUNT}:{resource}"


# Lambda


def _function(operation: Operation) -> str:
    given = operation.given
    name = given.get("FunctionName") or given.get("Resource", "")
    arn = name if name.startswith("arn:") else _arn(operation, "lambda", f"function:{name}")
    return f"{arn}:{given['Qualifier']}" if "Qualifier" in given else arn


def _on_function(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    action = "InvokeFunction" if operation.name == "Invoke" else operation.name
    yield asks(operation, f"lambda:{action}", _function(operation))
    given = operation.given
    if operation.name == "GetFunction":
        yield asks(operation, "lambda:ListTags", _function(operation), True)  # else it says no tags
    if given.get("Tags") and operation.name == "CreateFunction":
        yield asks(operation, "lambda:TagResource", _function(operation), True)
    if "Role" in given:
        passed = {"iam__PassedToService": "lambda.amazonaws.com"}
        yield asks(operation, "iam:PassRole", given["Role"], True, **passed)
    code = given.get("Code", given)
    if "S3Key" in code:
        place = f"arn:{PARTITION}:s3:::{code['S3Bucket']}/{code['S3Key']}"
        yield asks(operation, "s3:GetObject", place, True)


def _create_mapping(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    arn = {"lambda__FunctionArn": operation.given["FunctionName"]}
    yield asks(operation, "lambda:CreateEventSourceMapping", "*", **arn)


def _on_mapping(operation: Operation, around: Surroundings) -> Iterable[Asked]:
    identity = operation.given["UUID"]
    there = _arn(operation, "lambda", f"event-source-mapping:{identity}")
    function = {"lambda__FunctionArn": around.mappings[identity]}
    yield asks(operation, f"lambda:{operation.name}", there, **function)


def _anywhere(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    yield asks(operation, f"{operation.service}:{operation.name}", "*")


# others


def _on_queue(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    given = operation.given
    name = given.get("QueueName") or given["QueueUrl"].rsplit("/", 1)[-1]
    yield asks(operation, f"sqs:{operation.name}", _arn(operation, "sqs", name))
    if operation.name == "CreateQueue" and given.get("tags"):
        yield asks(operation, "sqs:TagQueue", _arn(operation, "sqs", name), True)


def _on_stream(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    given = operation.given
    there = given.get("StreamARN") or _arn(operation, "kinesis", f"stream/{given['StreamName']}")
    yield asks(operation, f"kinesis:{operation.name}", there)


def _on_rule(operation: Operation, _: Surroundings) -> Iterable[Asked]:
    given = operation.given
    if "ResourceARN" in given:
        yield asks(operation, f"events:{operation.name}", given["ResourceARN"])
        return
    bus, name = given.get("EventBusName", "default"), given.get("Name") or given["Rule"]
    place = f"rule/{name}" if bus == "default" else f"rule/{bus}/{name}"
    yield asks(operation, f"events:{operation.name}", _arn(operation, "events", place))


ASKED: dict[str, Ask] = {
    **{
        f"lambda:{name}": _on_function
        for name in (
            *("CreateFunction", "GetFunction", "GetFunctionConfiguration", "UpdateFunctionCode"),
            *("UpdateFunctionConfiguration", "PublishVersion", "ListVersionsByFunction", "DeleteFunction"),
            *("GetAlias", "CreateAlias", "UpdateAlias", "Invoke", "TagResource", "GetPolicy"),
            *("AddPermission", "RemovePermission", "PutFunctionConcurrency", "DeleteFunctionConcurrency"),
            *("CreateFunctionUrlConfig", "UpdateFunctionUrlConfig", "GetFunctionUrlConfig"),
            "DeleteFunctionUrlConfig",
        )
    },
    "lambda:CreateEventSourceMapping": _create_mapping,
    "lambda:UpdateEventSourceMapping": _on_mapping,
    "lambda:DeleteEventSourceMapping": _on_mapping,
    "lambda:ListEventSourceMappings": _anywhere,
    **{
        f"sqs:{name}": _on_queue
        for name in (
            *("CreateQueue", "GetQueueUrl", "GetQueueAttributes", "SetQueueAttributes"),
            *("ListQueueTags", "TagQueue", "DeleteQueue"),
        )
    },
    **{
        f"kinesis:{name}": _on_stream
        for name in (
            *("CreateStream", "DescribeStreamSummary", "ListTagsForStream", "AddTagsToStream"),
            *("DeleteStream", "IncreaseStreamRetentionPeriod"),
        )
    },
    **{
        f"events:{name}": _on_rule
        for name in (
            *("PutRule", "DescribeRule", "DeleteRule", "TagResource", "ListTagsForResource"),
            *("ListTargetsByRule", "PutTargets", "RemoveTargets"),
        )
    },
}
