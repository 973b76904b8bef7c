"""What there is in an account that pik has made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from pik.domain.instants import Instant
from pik.planning.unclaimed import Tagged


class TableFacts(msgspec.Struct, frozen=True):
    """`entries` and `bytes`: as DynamoDB counted them within its last six hours."""

    created: Instant
    entries: int
    bytes: int


class Inventory(Protocol):
    """One account and region."""

    @property
    def region(self) -> str: ...

    async def tagged(self) -> Sequence[Tagged]:
        """Every bucket and table with an owner's tag of pik's. Raises `Denied` where neither tags nor buckets
        and tables may be listed."""
        ...

    async def buckets(self) -> Mapping[str, Instant]:
        """When each bucket was created. Raises `Denied`."""
        ...

    async def rules(self, bucket: str) -> Sequence[str] | None:
        """Ids of the bucket's lifecycle rules. None where there is no such bucket."""
        ...

    async def table(self, name: str) -> TableFacts | None:
        """None where there is none."""
        ...
