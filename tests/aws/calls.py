"""Calls of AWS, counted."""

from __future__ import annotations

from collections import Counter

from pik.aws.observing import CallResult


class Calls:
    """`AwsObserver`: what was asked how often."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()

    def answered(
        self, service: str, operation: str, result: CallResult, seconds: float, attempt: int
    ) -> None:
        self.made[operation] += 1
