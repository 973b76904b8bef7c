"""What it takes to send to a target."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from pik.api.common import Toggle
from pik.api.replay_job import ReplayJobSpec
from pik.api.targets import Target, TargetType
from pik.planning.iam.parts import write
from pik.planning.iam.places import Place, Realm
from pik.planning.iam.statements import Condition, Statement

_REGION = re.compile(r"\b([a-z]{2}(?:-[a-z]+)+-[0-9]+)\..*amazonaws\.com")


def send(job: ReplayJobSpec, realm: Realm) -> list[Statement]:
    """To the job's target, and to the queue of what it refuses."""
    dead_letter = job.onError.deadLetter
    return [
        *SENDING[job.target.type](job.target, realm),
        *([] if dead_letter is None else _to_queue(dead_letter.queueURL, realm)),
    ]


def read_back(job: ReplayJobSpec, realm: Realm) -> list[Statement]:
    """What the target has got, to hold it against what was sent. Of S3 by listing it; nothing else of AWS
    can be read back."""
    place = job.target.s3
    if job.verifyTarget is not Toggle.ENABLED or place is None:
        return []
    bucket = realm.bucket(place.bucket)
    below = (Condition("StringLike", "s3:prefix", (f"{place.prefix}/*",)),)
    return [
        Statement("ReadBack", ("s3:GetObject",), (f"{bucket}/{place.prefix}/*",)),
        Statement("ReadBack", ("s3:ListBucket",), (bucket,), below),
    ]


def _to_sqs(target: Target, realm: Realm) -> list[Statement]:
    return [] if target.sqs is None else _to_queue(target.sqs.queueURL, realm)


def _to_queue(url: str, realm: Realm) -> list[Statement]:
    return [Statement("Send", ("sqs:SendMessage",), (queue_arn(url, realm),))]


def _to_s3(target: Target, realm: Realm) -> list[Statement]:
    if target.s3 is None:
        return []
    return write(Place(bucket=target.s3.bucket, prefix=target.s3.prefix), realm, "*")


def _to_kinesis(target: Target, realm: Realm) -> list[Statement]:
    if target.kinesis is None:
        return []
    stream = target.kinesis.streamARN or realm.arn("kinesis", f"stream/{target.kinesis.streamName}")
    return [Statement("Put", ("kinesis:PutRecords",), (stream,))]


def _to_bus(target: Target, realm: Realm) -> list[Statement]:
    bus = target.eventBridge
    if bus is None:
        return []
    arn = bus.eventBusARN or realm.arn("events", f"event-bus/{bus.eventBusName}")
    return [Statement("Put", ("events:PutEvents",), (arn,))]


def _to_function(target: Target, realm: Realm) -> list[Statement]:
    function = target.lambda_
    if function is None:
        return []
    arn = function.functionARN or realm.arn("lambda", f"function:{function.functionName}")
    return [Statement("Invoke", ("lambda:InvokeFunction",), (arn,))]


def _nothing(target: Target, realm: Realm) -> list[Statement]:  # noqa: ARG001 - one of several
    """HTTP is none of AWS's."""
    return []


SENDING: dict[TargetType, Callable[[Target, Realm], list[Statement]]] = {  # a test asks for each type
    TargetType.SQS: _to_sqs,
    TargetType.HTTP: _nothing,
    TargetType.S3: _to_s3,
    TargetType.KINESIS: _to_kinesis,
    TargetType.EVENT_BRIDGE: _to_bus,
    TargetType.LAMBDA: _to_function,
}


def queue_arn(url: str, realm: Realm) -> str:
    """`https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`; an emulator's URL does not say the region."""
    parts = urlsplit(url)
    account, _, name = parts.path.strip("/").rpartition("/")
    said = _REGION.search(parts.hostname or "")
    region = realm.region if said is None else said[1]
    return f"arn:{realm.partition}:sqs:{region}:{account or realm.account}:{name}"
