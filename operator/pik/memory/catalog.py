"""A catalog of tables in memory."""

from __future__ import annotations

from pik.domain.errors import Unusable
from pik.memory.hooks import Hook, unhooked
from pik.planning.trino.tables import OWNER, CatalogTable, drifted
from pik.ports.catalog import TableChange


class MemoryCatalog:
    """`ports.Catalog`. Tests may change `tables`, by database and name, behind its back."""

    def __init__(self, before: Hook = unhooked) -> None:
        self.tables: dict[tuple[str, str], CatalogTable] = {}
        self._before = before

    async def ensure(self, database: str, name: str, wanted: CatalogTable) -> TableChange:
        await self._before("catalog.ensure")
        found = self.tables.get((database, name))
        if found is not None and found.parameters.get(OWNER) != wanted.parameters[OWNER]:
            raise Unusable(f"there is a table {database}.{name} that is not this stream's")
        self.tables[database, name] = wanted
        if found is None:
            return TableChange(created=True)
        return TableChange(repaired=drifted(wanted, found))

    async def drop(self, database: str, name: str, stream_id: str) -> None:
        await self._before("catalog.drop")
        found = self.tables.get((database, name))
        if found is not None and found.parameters.get(OWNER) == stream_id:
            del self.tables[database, name]
