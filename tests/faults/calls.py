"""Which call of AWS a request is, seen from outside, and what that service says when it fails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

Headers = Sequence[tuple[bytes, bytes]]

_TARGETS = {  # prefix of X-Amz-Target, before the date of the API
    "AmazonAthena": "athena",
    "AWSEvents": "events",
    "AWSGlue": "glue",
    "AmazonSQS": "sqs",
    "DynamoDB": "dynamodb",
    "Kinesis": "kinesis",
    "ResourceGroupsTaggingAPI": "resourcegroupstaggingapi",
}
_SIGNED_FOR = re.compile(rb"Credential=[^/]+/\d{8}/[^/]*/([a-z0-9-]+)/aws4_request")
_INVOKE = re.compile(r"^/2015-03-31/functions/[^/]+/invocations$")


class Dialect(StrEnum):
    """How a service words an error."""

    JSON = "json"  # 400 and `__type`, as DynamoDB, SQS, Kinesis, EventBridge, Athena and Glue
    LAMBDA = "lambda"  # status and the header X-Amzn-ErrorType
    S3 = "s3"
    QUERY = "query"  # XML, as STS


@dataclass(frozen=True, slots=True)
class Call:
    """`number`: from 0, of the calls of this operation. `operation`: as boto3 has it where that can be seen
    (`SendMessageBatch`, `Invoke`), else the method, as with most of S3 (`PUT`)."""

    service: str
    operation: str
    number: int
    method: str
    path: str  # with the query

    @property
    def name(self) -> str:
        return f"{self.service}.{self.operation}"

    @property
    def dialect(self) -> Dialect:
        found = {"s3": Dialect.S3, "lambda": Dialect.LAMBDA, "sts": Dialect.QUERY, "iam": Dialect.QUERY}
        return found.get(self.service, Dialect.JSON)


def named(method: str, path: str, headers: Headers, body: bytes) -> tuple[str, str]:
    """Service and operation of a request."""
    target = header(headers, b"x-amz-target").decode()
    if target:
        prefix, _, operation = target.partition(".")
        return _TARGETS.get(prefix.partition("_")[0], prefix), operation
    signed = _SIGNED_FOR.search(header(headers, b"authorization"))
    service = signed[1].decode() if signed else "s3"
    if service == "lambda":
        return service, "Invoke" if _INVOKE.match(urlsplit(path).path) else method
    action = parse_qs(body.decode("latin-1")).get("Action") if service in ("sts", "iam") else None
    return service, action[0] if action else method


def header(headers: Headers, name: bytes) -> bytes:
    return next((value for key, value in headers if key.lower() == name), b"")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Headers
    body: bytes


_THROTTLED = {
    "athena": "TooManyRequestsException",
    "dynamodb": "ProvisionedThroughputExceededException",
    "kinesis": "ProvisionedThroughputExceededException",
    "lambda": "TooManyRequestsException",
    "s3": "SlowDown",
    "sqs": "RequestThrottled",
}
_BROKEN = {
    "dynamodb": "InternalServerError",
    "events": "InternalException",
    "kinesis": "InternalFailureException",
    "lambda": "ServiceException",
}


def throttled(call: Call, retry_after: int | None = None) -> Answer:
    """`retry_after`: seconds, where the service can say so (Lambda)."""
    code = _THROTTLED.get(call.service, "ThrottlingException")
    status = {Dialect.S3: 503, Dialect.LAMBDA: 429}.get(call.dialect, 400)
    wait = [] if retry_after is None else [(b"Retry-After", str(retry_after).encode())]
    return error(call, status, code, "Rate exceeded, says the fault proxy", wait)


def broken(call: Call) -> Answer:
    return error(call, 500, _BROKEN.get(call.service, "InternalError"), "an error, says the fault proxy")


def error(call: Call, status: int, code: str, message: str, further: Headers = ()) -> Answer:
    """An error as the call's service words it."""
    headers: list[tuple[bytes, bytes]] = [(b"x-amzn-requestid", b"fault-proxy"), *further]
    match call.dialect:
        case Dialect.S3:
            body = (
                f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
                f"<Message>{message}</Message></Error>"
            ).encode()
            kind = b"application/xml"
        case Dialect.QUERY:
            body = (
                f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
                f"<Message>{message}</Message></Error></ErrorResponse>"
            ).encode()
            kind = b"text/xml"
        case Dialect.LAMBDA:
            body = _json({"Type": "User", "message": message})
            kind = b"application/json"
            headers.append((b"x-amzn-ErrorType", code.encode()))
        case Dialect.JSON:
            body = _json({"__type": code, "message": message})
            kind = b"application/x-amz-json-1.0"
    headers += [(b"Content-Type", kind), (b"Content-Length", str(len(body)).encode())]
    return Answer(status, headers, b"" if call.method == "HEAD" else body)


def _json(value: Any) -> bytes:
    return orjson.dumps(value)
