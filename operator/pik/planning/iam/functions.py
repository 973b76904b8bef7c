"""What functions need, and what it takes to deploy and to feed them."""

from __future__ import annotations

from pik.planning.functions import FunctionKind
from pik.planning.iam.feeds import Function
from pik.planning.iam.parts import aggregate, capture, plan, replay, write
from pik.planning.iam.places import Place, Realm
from pik.planning.iam.statements import Condition, Statement
from pik.planning.iam.targets import queue_arn

_BY_LAMBDA = "Lambda itself makes these calls, with the function's role"
_PASSED = Condition("StringEquals", "iam:PassedToService", ("lambda.amazonaws.com",))


def ingest(place: Place, realm: Realm) -> list[Statement]:
    """It takes events; Lambda reads its sources for it."""
    feed = place.feed
    queues = [*(_queue(name, place, realm) for name in feed.reads_queues), *feed.others_queues]
    streams = [*(_stream(name, place, realm) for name in feed.reads_streams), *feed.others_streams]
    return [
        *_of_stream(place, capture(place, realm)),
        *_polled(queues),
        *_drained(streams),
        *_logged(place, realm, FunctionKind.INGEST),
    ]


def replaying(place: Place, realm: Realm) -> list[Statement]:
    """It plans a slice, and sends it."""
    feed = place.feed
    to = [] if feed.replays_to is None else [queue_arn(feed.replays_to, realm)]
    if feed.replays_to is None and feed.replay_queue is not None:
        to = [_queue(feed.replay_queue, place, realm)]
    return [
        *_of_stream(place, [*plan(place, realm), *replay(place, realm)]),
        *([Statement("Send", ("sqs:SendMessage",), tuple(to))] if to else []),
        *_logged(place, realm, FunctionKind.REPLAY),
    ]


def processor(place: Place, realm: Realm) -> list[Statement]:
    """It computes what was replayed; Lambda reads the queue for it."""
    queue = place.feed.replay_queue
    return [
        *_of_stream(place, aggregate(place, realm)),
        *_polled([] if queue is None else [_queue(queue, place, realm)]),
        *_logged(place, realm, FunctionKind.PROCESSOR),
    ]


def deploy(place: Place, realm: Realm) -> list[Statement]:
    """The operator's: functions are made, changed, asked whether they are well, and taken away."""
    functions = place.feed.functions
    if not functions:
        return []
    arns = tuple(_function(one, place, realm) for one in functions)
    versions = tuple(f"{arn}:*" for arn in arns)
    statements = [
        *write(place, realm, "functions/*"),
        Statement(
            "Deploy",
            (
                *("lambda:CreateFunction", "lambda:GetFunction", "lambda:ListTags", "lambda:TagResource"),
                *("lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration"),
                *("lambda:GetFunctionConfiguration", "lambda:PublishVersion"),
                *("lambda:ListVersionsByFunction", "lambda:DeleteFunction", "lambda:GetAlias"),
                *("lambda:CreateAlias", "lambda:UpdateAlias", "lambda:PutFunctionConcurrency"),
            ),
            arns,
        ),
        Statement(
            "DeployVersion",
            (
                *("lambda:GetFunctionConfiguration", "lambda:InvokeFunction", "lambda:DeleteFunction"),
                "lambda:GetFunctionUrlConfig",
            ),
            versions,
        ),
        Statement("PassRole", ("iam:PassRole",), tuple(sorted({one.role for one in functions})), (_PASSED,)),
    ]
    bounded = tuple(arn for arn, one in zip(arns, functions, strict=True) if not one.bounded)
    if bounded:
        statements.append(Statement("Deploy", ("lambda:DeleteFunctionConcurrency",), bounded))
    with_url = tuple(f"{arn}:*" for arn, one in zip(arns, functions, strict=True) if one.url)
    if with_url:
        urls = (
            *("lambda:CreateFunctionUrlConfig", "lambda:UpdateFunctionUrlConfig"),
            "lambda:DeleteFunctionUrlConfig",
        )
        policies = ("lambda:GetPolicy", "lambda:AddPermission", "lambda:RemovePermission")
        statements.append(Statement("Url", (*urls, *policies), with_url))
    return statements


def connect(place: Place, realm: Realm) -> list[Statement]:
    """The operator's: queues, Kinesis streams and rules are made, and mapped to functions; objects are
    read into the stream."""
    feed = place.feed
    own = tuple(_queue(name, place, realm) for name in feed.queues)
    streams = tuple(_stream(name, place, realm) for name in feed.streams)
    rules = tuple(_rule(bus, name, place, realm) for bus, name in feed.rules)
    removing = place.deletes
    looks = ("sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ListQueueTags")
    return [
        *_if(
            own,
            "Queues",
            *(*looks, "sqs:CreateQueue", "sqs:SetQueueAttributes", "sqs:TagQueue"),
            *(("sqs:DeleteQueue",) if removing else ()),
        ),
        *_if(feed.others_queues, "Attached", *looks),
        *_if(tuple(_queue(name, place, realm) for name in feed.no_queues), "LookFor", "sqs:GetQueueUrl"),
        *_if(
            tuple(_stream(name, place, realm) for name in feed.no_streams),
            "LookFor",
            "kinesis:DescribeStreamSummary",
        ),
        *_if(
            streams,
            "Streams",
            *("kinesis:CreateStream", "kinesis:DescribeStreamSummary", "kinesis:ListTagsForStream"),
            *("kinesis:AddTagsToStream", "kinesis:IncreaseStreamRetentionPeriod"),
            *(("kinesis:DeleteStream",) if removing else ()),
        ),
        *_if(
            rules,
            "Rules",
            *("events:PutRule", "events:DescribeRule", "events:DeleteRule", "events:TagResource"),
            *("events:ListTagsForResource", "events:ListTargetsByRule", "events:PutTargets"),
            "events:RemoveTargets",
        ),
        *_mappings(place, realm),
        *_backfill(place, realm),
    ]


def _mappings(place: Place, realm: Realm) -> list[Statement]:
    feed = place.feed
    read_by = {FunctionKind.INGEST: _reads(place), FunctionKind.PROCESSOR: feed.replay_queue is not None}
    arns = [_function(one, place, realm) for one in feed.functions if read_by.get(one.kind)]
    listing = Statement("Mappings", ("lambda:ListEventSourceMappings",), ("*",))
    if not arns:
        return [listing] if feed.functions else []
    of_ours = (
        Condition("ArnLike", "lambda:FunctionArn", tuple(p for arn in arns for p in (arn, f"{arn}:*"))),
    )
    there = realm.arn("lambda", "event-source-mapping:*", place.region)
    changes = ("lambda:UpdateEventSourceMapping", "lambda:DeleteEventSourceMapping")
    return [
        listing,
        Statement("Map", ("lambda:CreateEventSourceMapping",), ("*",), of_ours),
        Statement("Map", changes, (there,), of_ours),
    ]


def _reads(place: Place) -> bool:
    feed = place.feed
    return bool(feed.reads_queues or feed.reads_streams or feed.others_queues or feed.others_streams)


def _backfill(place: Place, realm: Realm) -> list[Statement]:
    """Objects become events by the operator itself, which writes raw then."""
    if not place.feed.objects:
        return []
    statements = [*capture(place, realm), *write(place, realm, "sources/*")]
    for bucket, prefix in place.feed.objects:
        below = (Condition("StringLike", "s3:prefix", (f"{prefix}*",)),)
        statements.append(Statement("Backfill", ("s3:GetObject",), (f"{realm.bucket(bucket)}/{prefix}*",)))
        statements.append(Statement("Backfill", ("s3:ListBucket",), (realm.bucket(bucket),), below))
    return statements


def _if(resources: tuple[str, ...], sid: str, *actions: str) -> list[Statement]:
    return [Statement(sid, actions, resources)] if resources else []


def _of_stream(place: Place, statements: list[Statement]) -> list[Statement]:
    """Of a stream with a role of its own, the right to assume that."""
    if place.role is None:
        return statements
    return [Statement("Assume", ("sts:AssumeRole",), (place.role,))]


def _polled(queues: list[str]) -> list[Statement]:
    actions = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
    return [Statement("Poll", actions, tuple(queues), unproved=_BY_LAMBDA)] if queues else []


def _drained(streams: list[str]) -> list[Statement]:
    actions = (
        *("kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:ListShards"),
        *("kinesis:GetShardIterator", "kinesis:GetRecords"),
    )
    return [Statement("PollStreams", actions, tuple(streams), unproved=_BY_LAMBDA)] if streams else []


def _logged(place: Place, realm: Realm, kind: FunctionKind) -> list[Statement]:
    names = [one.name for one in place.feed.functions if one.kind is kind] or [f"pik-*-{kind}"]
    group = tuple(realm.arn("logs", f"log-group:/aws/lambda/{name}", place.region) for name in names)
    streams = tuple(f"{one}:*" for one in group)
    return [
        Statement("Logs", ("logs:CreateLogGroup",), group, unproved=_BY_LAMBDA),
        Statement("Logs", ("logs:CreateLogStream", "logs:PutLogEvents"), streams, unproved=_BY_LAMBDA),
    ]


def _function(function: Function, place: Place, realm: Realm) -> str:
    return realm.arn("lambda", f"function:{function.name}", place.region)


def _queue(name: str, place: Place, realm: Realm) -> str:
    return realm.arn("sqs", name, place.region)


def _stream(name: str, place: Place, realm: Realm) -> str:
    return realm.arn("kinesis", f"stream/{name}", place.region)


def _rule(bus: str, name: str, place: Place, realm: Realm) -> str:
    return realm.arn("events", f"rule/{name}" if bus == "default" else f"rule/{bus}/{name}", place.region)
