"""From botocore's errors to pik's: the only place that knows AWS's error codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as BotocoreConnectionError,
)
from botocore.parsers import ResponseParserError

from pik.domain.errors import (
    Denied,
    NoSuchBucket,
    NoSuchObject,
    NoSuchTable,
    PikError,
    Refused,
    Throttled,
    Unavailable,
)
from pik.ports.system import Offload

P = ParamSpec("P")
T = TypeVar("T")

_SERVER_ERROR = 500
# no connection, no answer in time, or one that broke off
_NO_ANSWER = (BotocoreConnectionError, HTTPClientError, IncompleteReadError, FlexibleChecksumError)
_NO_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)
_CODES: dict[str, type[PikError]] = {
    **dict.fromkeys(
        [
            "503",  # of a HEAD, whose answer has no body
            "EC2ThrottledException",  # Lambda
            "KMSThrottlingException",  # Kinesis
            "KmsThrottled",  # SQS
            "LimitExceededException",  # DynamoDB: too many table operations at once
            "ProvisionedThroughputExceeded",
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "RequestThrottled",  # SQS
            "RequestThrottledException",
            "SlowDown",
            "Throttling",
            "ThrottlingError",
            "ThrottlingException",
            "TooManyRequestsException",
        ],
        Throttled,
    ),
    **dict.fromkeys(
        [
            "ConditionalRequestConflict",  # another conditional write to the same key was under way
            "InternalError",
            "InternalException",  # EventBridge
            "InternalFailure",
            "InternalFailureException",  # Kinesis
            "InternalServerError",
            "OperationAborted",  # S3: another change of the bucket is under way
            "RequestTimeout",
            "ResourceInUseException",  # DynamoDB: the table is being created, changed or deleted
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "TransactionConflict",
            "TransactionConflictException",
            "TransactionInProgressException",
        ],
        Unavailable,
    ),
    **dict.fromkeys(
        [
            "403",
            "AccessDenied",
            "AccessDeniedException",
            "AllAccessDisabled",
            "AuthFailure",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignatureException",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "KMSAccessDeniedException",
            "KmsAccessDenied",
            "SignatureDoesNotMatch",
            "UnauthorizedOperation",
            "UnrecognizedClientException",
        ],
        Denied,
    ),
    "NoSuchBucket": NoSuchBucket,
    "NoSuchKey": NoSuchObject,
    "ResourceNotFoundException": NoSuchTable,
    "ResourceNotFound": NoSuchTable,
}


async def call(io: Offload, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """One AWS call on a thread of `io`. Raises errors of `pik.domain.errors`, chained to botocore's."""
    try:
        return await io(method, *args, **kwargs)
    except (ClientError, BotoCoreError) as error:
        raise translated(error) from error
    except ResponseParserError as error:  # what answered does not speak as AWS does
        raise Unavailable(str(error)) from error


def translated(error: ClientError | BotoCoreError) -> PikError:
    """The error that says the same. What is not known here is `Refused`."""
    if isinstance(error, ClientError):
        return of_code(code(error), str(error), _status(error))
    if isinstance(error, _NO_ANSWER):
        return Unavailable(str(error))
    if isinstance(error, _NO_CREDENTIALS):
        return Denied(str(error))
    return Refused(str(error))


def of_code(name: str, message: str, status: int = 0) -> PikError:
    """The error of an AWS error code, such as those that stand in the answer to a batch."""
    kind = _CODES.get(name)
    if kind is None:
        kind = Unavailable if status >= _SERVER_ERROR else Refused
    return kind(f"{name}: {message}" if name not in message else message)


def code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def retry_after(error: PikError) -> float | None:
    """Seconds that the service asked to be left alone (`Retry-After`); None where it did not say."""
    cause = error.__cause__
    if not isinstance(cause, ClientError):
        return None
    asked = cause.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", "")
    return float(asked) if asked.isascii() and asked.isdigit() else None


def is_code(error: PikError, *names: str) -> bool:
    """Whether an error came from one of these AWS codes."""
    return isinstance(error.__cause__, ClientError) and code(error.__cause__) in names


def cancellation_codes(error: PikError) -> list[str]:
    """Of a transaction that was cancelled: the code for each of its parts, `None` (the text) where that part
    was fine. Empty for any other error."""
    if not is_code(error, "TransactionCanceledException"):
        return []
    cause: Any = error.__cause__
    return [reason.get("Code", "None") for reason in cause.response.get("CancellationReasons", [])]


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
