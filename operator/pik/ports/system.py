"""Time, randomness and the CPU as parameters (law 12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from pik.domain.instants import Instant

P = ParamSpec("P")
T = TypeVar("T")


class Clock(Protocol):
    """Time as a parameter."""

    def now(self) -> Instant:
        """The wall clock, whole microseconds."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Entropy(Protocol):
    """Randomness as a parameter."""

    def hex(self, digits: int) -> str:
        """So many random hex digits."""
        ...


class Offload(Protocol):
    """Runs work of the CPU (Parquet, DuckDB) where it does not hold up the event loop."""

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
