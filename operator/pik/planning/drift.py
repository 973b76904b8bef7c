"""What is not as a spec has it, and whether it is set right or only told. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from pik.api.capture_stream import DriftPolicy
from pik.api.stream_status import DriftAction

A = TypeVar("A")


class Difference(msgspec.Struct, Generic[A], frozen=True):
    """One setting that is not as the spec has it, and what would set it right."""

    resource: str  # the name of what differs: a bucket, a table, a function, a queue
    field: str
    action: A


class Plan(msgspec.Struct, Generic[A], frozen=True):
    """What to do, and what to tell."""

    actions: tuple[A, ...]
    drift: tuple[tuple[Difference[A], DriftAction], ...]


Drifted = Sequence[tuple[Difference[Any], DriftAction]]
"""What somebody else has changed, and what becomes of it."""


def plan(policy: DriftPolicy, differences: Sequence[Difference[A]], *, settled: bool) -> Plan[A]:
    """`settled`: this spec was carried out before, so that a difference is not the spec's own change, but
    somebody else's: drift, which the policy decides about."""
    if not settled:
        return Plan(tuple(difference.action for difference in differences), ())
    if policy is DriftPolicy.REPORT:
        return Plan((), tuple((difference, DriftAction.REPORTED) for difference in differences))
    return Plan(
        tuple(difference.action for difference in differences),
        tuple((difference, DriftAction.REPAIRED) for difference in differences),
    )
