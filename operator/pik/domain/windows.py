"""Windows of time, half-open (law 4)."""

from __future__ import annotations

import msgspec

from pik.domain.instants import Instant


class Window(msgspec.Struct, frozen=True):
    """`[start, end)`: start belongs to it, end does not. Raises ValueError unless start < end."""

    start: Instant
    end: Instant

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError("a window's from must be before its to")
        if self.start.rest or self.end.rest:
            raise ValueError("a window's ends have at most 6 digits of a second")

    def __contains__(self, instant: Instant) -> bool:
        return self.start <= instant < self.end
