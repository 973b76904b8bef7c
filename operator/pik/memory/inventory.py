"""What there is in an account in memory."""

from __future__ import annotations

from collections.abc import Mapping

from pik.domain.instants import Instant
from pik.memory.provisioning import MemoryAccount
from pik.planning.storage import OWNER_TAG
from pik.planning.unclaimed import Made, Tagged
from pik.ports.inventory import TableFacts

_MADE = Instant(0)  # nobody notes here when something is made


class MemoryInventory:
    """`ports.Inventory` over a `MemoryAccount`, which has one region."""

    region = "us-east-1"

    def __init__(self, account: MemoryAccount) -> None:
        self._account = account

    async def tagged(self) -> list[Tagged]:
        buckets, tables = self._account.bucket_settings, self._account.table_settings
        found = [
            *(Tagged(Made.BUCKET, name, self.region, buckets[name].tags) for name in sorted(buckets)),
            *(Tagged(Made.TABLE, name, self.region, tables[name].tags) for name in sorted(tables)),
        ]
        return [one for one in found if OWNER_TAG in one.tags]

    async def buckets(self) -> Mapping[str, Instant]:
        return dict.fromkeys(self._account.bucket_settings, _MADE)

    async def rules(self, bucket: str) -> list[str] | None:
        there = self._account.bucket_settings.get(bucket)
        return None if there is None else list(there.rules)

    async def table(self, name: str) -> TableFacts | None:
        return TableFacts(_MADE, 0, 0) if name in self._account.table_settings else None
