"""A target that can tell what it has got of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from pik.planning.replay.messages import Messages


class ReadBack(Protocol):
    """Messages are compared by digests (32 bytes) of what tells them apart and of their payloads."""

    def digests(self, messages: Messages) -> pa.BinaryArray:
        """Of what the target has of each of these, if it has it."""
        ...

    async def found(self, run_id: str, put: Callable[[pa.BinaryArray], None]) -> None:
        """Hands over the digests of all that the target has of the run, piece by piece, off the event loop.
        Raises what the target does, and `Tampered` for what no run has written."""
        ...
