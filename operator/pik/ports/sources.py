"""What feeds a function: queues, streams, rules, and the mappings that read them."""

from __future__ import annotations

from typing import Protocol

from pik.planning.sources import ObservedMapping, ObservedQueue, ObservedRule, ObservedStream, SourceAction


class SourceProvisioner(Protocol):
    """One account and region."""

    async def queue(self, name: str) -> ObservedQueue | None:
        """Of this account, by its name. None where there is none."""
        ...

    async def stream(self, name: str) -> ObservedStream | None:
        """None where there is none. Raises `Unavailable` while it is being made or deleted."""
        ...

    async def rule(self, name: str, bus: str) -> ObservedRule | None: ...

    async def mappings(self, function: str) -> list[ObservedMapping]:
        """All of those that feed the function's alias `live`. Raises `Unavailable` while one is being made or
        changed."""
        ...

    async def apply(self, action: SourceAction) -> None:
        """Does it; done again it does no harm."""
        ...

    async def delete_rule(self, name: str, bus: str) -> None:
        """With its targets; fine where there is none."""
        ...

    async def delete_queue(self, name: str) -> None:
        """With what is in it; fine where there is none."""
        ...

    async def delete_stream(self, name: str) -> None:
        """With what is in it; fine where there is none."""
        ...
