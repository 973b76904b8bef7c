"""What AWS says of one invocation besides its event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec


class Context(Protocol):
    """The part of a Python handler's context that pik uses."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


class Invocation(msgspec.Struct, frozen=True):
    """`request_id`: the same in each try of one asynchronous invocation. `seconds_left`: until it is ended
    by force."""

    request_id: str
    seconds_left: Callable[[], float]


def invocation_of(context: Context) -> Invocation:
    return Invocation(context.aws_request_id, lambda: context.get_remaining_time_in_millis() / 1_000)
