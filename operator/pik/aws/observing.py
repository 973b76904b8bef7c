"""What each call of AWS came to, told to whoever counts: by botocore's events, for every client alike."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Any, Protocol

from pik.aws.errors import of_code
from pik.domain.errors import (
    Denied,
    NoSuchBucket,
    NoSuchObject,
    NoSuchTable,
    PikError,
    Throttled,
    Unavailable,
)

_BEGAN = "pik-began"  # in botocore's context of a call
_REDIRECTION, _NOT_FOUND = 300, 404
_UNMET = (
    *("ConditionalCheckFailed", "ConditionalCheckFailedException", "DuplicateItem", "DuplicateItemException"),
    *("PreconditionFailed", "412", "TransactionCanceledException"),
)


class CallResult(StrEnum):
    """OK: done. Unmet: a condition of the call did not hold, which decides who was first. NotFound,
    Throttled, Denied, Refused: as AWS says. Failed: an error of AWS's own. Unanswered: no connection, or no
    answer in time."""

    OK = "OK"
    UNMET = "Unmet"
    NOT_FOUND = "NotFound"
    THROTTLED = "Throttled"
    DENIED = "Denied"
    REFUSED = "Refused"
    FAILED = "Failed"
    UNANSWERED = "Unanswered"


class AwsObserver(Protocol):
    """Is told from any thread."""

    def answered(
        self, service: str, operation: str, result: CallResult, seconds: float, attempt: int
    ) -> None:
        """One request on the wire has ended. `attempt`: 1, or more where botocore tried again."""
        ...


def observe(client: Any, observer: AwsObserver) -> None:
    """Tells the observer of every request of a client from now on."""
    service = client.meta.service_model.service_name

    def began(request: Any, **_: Any) -> None:
        request.context[_BEGAN] = time.perf_counter()

    def ended(event_name: str, context: Any, parsed_response: Any, response_dict: Any, **_: Any) -> None:
        now = time.perf_counter()
        observer.answered(
            service,
            event_name.rpartition(".")[2],
            result_of(parsed_response, 0 if response_dict is None else response_dict["status_code"]),
            now - context.get(_BEGAN, now),
            context.get("retries", {}).get("attempt", 1),
        )

    client.meta.events.register("request-created", began)
    client.meta.events.register("response-received", ended)


_RESULTS: tuple[tuple[type[PikError], CallResult], ...] = (
    (Throttled, CallResult.THROTTLED),
    (Denied, CallResult.DENIED),
    (Unavailable, CallResult.FAILED),
    (NoSuchBucket, CallResult.NOT_FOUND),
    (NoSuchObject, CallResult.NOT_FOUND),
    (NoSuchTable, CallResult.NOT_FOUND),
)


def _is_partly_throttled(parsed: Any) -> bool:
    """Whether a batch of DynamoDB's that was taken has parts that were not."""
    if parsed.get("UnprocessedKeys") or parsed.get("UnprocessedItems"):
        return True
    parts = parsed.get("Responses")
    if not isinstance(parts, list):
        return False  # of a BatchGetItem these are items by table
    codes = [part["Error"].get("Code", "") for part in parts if "Error" in part]
    return any(isinstance(of_code(code, code), Throttled) for code in codes)


def result_of(parsed: Any, status: int) -> CallResult:
    """`parsed`: the answer as botocore's client has it, or None. `status`: HTTP's, 0 where none came."""
    if not status or parsed is None:
        return CallResult.UNANSWERED
    if status < _REDIRECTION:
        return CallResult.THROTTLED if _is_partly_throttled(parsed) else CallResult.OK
    code = parsed.get("Error", {}).get("Code", "")
    if code in _UNMET:
        return CallResult.UNMET
    error = of_code(code, code, status)
    for kind, result in _RESULTS:
        if isinstance(error, kind):
            return result
    return CallResult.NOT_FOUND if status == _NOT_FOUND else CallResult.REFUSED
