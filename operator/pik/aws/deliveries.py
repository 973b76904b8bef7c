"""What AWS's answers to a batch mean for its messages: shared by the sinks that send by AWS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from botocore.exceptions import ClientError

from pik.aws.errors import code, of_code, retry_after
from pik.domain.errors import Denied, PikError, Refused, Throttled, Unavailable
from pik.ports.sinks import Batch, Delivery, Disposition

UNANSWERED = Delivery(Disposition.RETRYABLE, "the answer did not mention it", "Unanswered")
_LONGEST = 300  # characters of an answer that are kept
_CLIENT_ERROR = 400


def failed(error: PikError) -> Delivery:
    """Of a call that did not come about this time, or of which nobody knows whether it did."""
    reasons = {Throttled: "Throttled", Denied: "AccessDenied"}
    reason = reasons.get(type(error), "Unavailable")
    return Delivery(Disposition.RETRYABLE, str(error)[:_LONGEST], reason, retry_after(error))


def refused(error: Refused) -> Delivery:
    """Of a message that was refused for good, alone."""
    cause = error.__cause__
    reason = short(code(cause)) if isinstance(cause, ClientError) else "Refused"
    return Delivery(Disposition.REFUSED, str(error)[:_LONGEST], reason)


def missing(what: str, reason: str) -> Delivery:
    """Of a target that is not there, and may come."""
    return Delivery(Disposition.RETRYABLE, f"there is no {what}"[:_LONGEST], reason)


def of_entry(name: str, message: str, status: int = _CLIENT_ERROR) -> Delivery:
    """One message's failure among others of a call, by its code. `status`: as of HTTP, of a code that pik
    does not know. What the credentials may not is tried again: others of the call may have been taken."""
    error = of_code(name, message, status)
    if isinstance(error, Unavailable | Denied):
        return failed(error)
    return Delivery(Disposition.REFUSED, str(error)[:_LONGEST], short(name))


async def one_by_one(batch: Batch, send: Callable[[Batch], Awaitable[list[Delivery]]]) -> list[Delivery]:
    """A call that is refused as a whole says nothing of its messages: each is tried alone."""
    deliveries = []
    for position in range(len(batch.messages)):
        deliveries += await send(part(batch, [position]))
    return deliveries


async def apart(
    batch: Batch, doubtful: list[int], send: Callable[[Batch], Awaitable[list[Delivery]]]
) -> list[Delivery]:
    """Messages that the target may refuse, and with them the whole call, go alone. `doubtful`: their
    positions, which ascend. Only for calls in which no message must wait for another."""
    found = {n: (await send(part(batch, [n])))[0] for n in doubtful}
    others = [n for n in range(len(batch.messages)) if n not in found]
    if others:
        found.update(zip(others, await send(part(batch, others)), strict=True))
    return [found[n] for n in range(len(batch.messages))]


def part(batch: Batch, positions: list[int]) -> Batch:
    """The messages at these positions, which ascend."""
    return msgspec.structs.replace(batch, messages=batch.messages.at(positions))


def short(name: str) -> str:
    """`InvalidAddress` for `AWS.SimpleQueueService.InvalidAddress`."""
    return name.rsplit(".", 1)[-1]
