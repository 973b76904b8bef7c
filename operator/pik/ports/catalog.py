"""The catalog in which a query service finds a stream's segments as a table."""

from __future__ import annotations

from typing import Protocol

import msgspec

from pik.planning.trino.tables import CatalogTable


class TableChange(msgspec.Struct, frozen=True):
    """What was done to a table so that it is as wanted: `created`, or the `repaired` fields; or nothing."""

    created: bool = False
    repaired: tuple[str, ...] = ()


class Catalog(Protocol):
    """Calls raise what AWS calls do."""

    async def ensure(self, database: str, name: str, wanted: CatalogTable) -> TableChange:
        """Makes the database and the table where they are missing, and sets the table right where it is not
        as wanted. Raises `Unusable` for a table of this name that is not this stream's."""
        ...

    async def drop(self, database: str, name: str, stream_id: str) -> None:
        """Takes the table of this stream out of the catalog. One that is not there, or not this stream's, is
        left."""
        ...
