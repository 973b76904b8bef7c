"""What is done to which call. A policy is asked once for each request, in the order of their arrival."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from faults import parts
from faults.calls import Call


class Kind(StrEnum):
    THROTTLE = "Throttle"  # never forwarded: SlowDown, ProvisionedThroughputExceeded…, 429
    ERROR = "Error"  # 500 in the service's words
    RESET = "Reset"  # the connection is reset (RST)
    TRUNCATE = "Truncate"  # half of the body under a Content-Length of the whole, then the end
    SILENCE = "Silence"  # no answer, until the client goes away
    DELAY = "Delay"  # the true answer, later
    PART = "Part"  # some entries of a batch fail, the others are forwarded
    CODE = "Code"  # an error with a code of the test's choice


class When(StrEnum):
    BEFORE = "Before"  # the service never hears of it
    AFTER = "After"  # the service has done it, and the answer is lost


@dataclass(frozen=True, slots=True)
class Fault:
    kind: Kind
    when: When = When.BEFORE
    seconds: float = 0.0  # of DELAY
    entries: Collection[int] | None = None  # positions, of PART; None: one in two, by the call's number
    code: str | None = None  # of PART, instead of the operation's usual one; of CODE
    status: int = 400  # of CODE
    retry_after: int | None = None  # seconds, of THROTTLE

    def __str__(self) -> str:
        return f"{self.kind}{self.when}" if self.kind in _EITHER else str(self.kind)


_EITHER = (Kind.ERROR, Kind.RESET, Kind.SILENCE, Kind.CODE)

Policy = Callable[[Call], Fault | None]

USUAL = (
    Fault(Kind.THROTTLE),
    Fault(Kind.ERROR),
    Fault(Kind.ERROR, When.AFTER),
    Fault(Kind.RESET),
    Fault(Kind.RESET, When.AFTER),
    Fault(Kind.TRUNCATE, When.AFTER),
    Fault(Kind.DELAY, seconds=0.05),
    Fault(Kind.PART),
)
"""All that a client gets over without waiting for its own timeout."""


def nothing(_: Call) -> Fault | None:
    return None


def sometimes(
    seed: int,
    share: float,
    faults: Sequence[Fault] = USUAL,
    *,
    spared: Collection[str] = (),
    only: Collection[str] | None = None,
) -> Policy:
    """`share` of the calls (0..1) fail, each by one of `faults`. The n-th call of an operation has the same
    fate for the same seed, however calls of different operations interleave. `spared`, `only`: names such as
    `sqs.SendMessageBatch`, or of whole services, such as `s3`."""

    def policy(call: Call) -> Fault | None:
        names = {call.name, call.service}
        if names & {*spared} or (only is not None and not names & {*only}):
            return None
        chance = Random(f"{seed}/{call.name}/{call.number}")
        if chance.random() >= share:
            return None
        fault = chance.choice([each for each in faults if _fits(each, call)] or [None])
        if fault is not None and fault.kind is Kind.PART and fault.entries is None:
            return replace(fault, entries=[n for n in range(1_000) if chance.random() < 0.5])
        return fault

    return policy


def script(faults: Mapping[str, Sequence[Fault | None]]) -> Policy:
    """The first calls of these operations (`kinesis.PutRecords`) fare as listed; all others are let be."""

    def policy(call: Call) -> Fault | None:
        listed = faults.get(call.name, ())
        return listed[call.number] if call.number < len(listed) else None

    return policy


def _fits(fault: Fault, call: Call) -> bool:
    return fault.kind is not Kind.PART or call.name in parts.OPERATIONS
