"""The Glue Data Catalog as `ports.Catalog`."""

from __future__ import annotations

from typing import Any

from pik.aws.errors import call, is_code
from pik.domain.errors import PikError, Unusable
from pik.planning.trino.tables import OWNER, CatalogTable, drifted
from pik.ports.catalog import TableChange
from pik.ports.system import Offload

_MISSING = "EntityNotFoundException"
_THERE = "AlreadyExistsException"


class GlueCatalog:
    """`client`: boto3's of Glue."""

    def __init__(self, client: Any, io: Offload) -> None:
        self._client = client
        self._io = io

    async def ensure(self, database: str, name: str, wanted: CatalogTable) -> TableChange:
        found = await self._table(database, name)
        if found is None:
            return await self._create(database, name, wanted)
        owner = found.get("Parameters", {}).get(OWNER)
        if owner != wanted.parameters[OWNER]:
            raise Unusable(
                f"Glue has a table {database}.{name} that is not this stream's ({OWNER} is {owner}): drop it"
            )
        differing = drifted(wanted, _of_glue(found))
        if not differing:
            return TableChange()
        kept = {key: value for key, value in found["Parameters"].items() if key not in wanted.parameters}
        await call(
            self._io,
            self._client.update_table,
            DatabaseName=database,
            TableInput=_to_glue(name, wanted, kept),
        )
        return TableChange(repaired=differing)

    async def drop(self, database: str, name: str, stream_id: str) -> None:
        found = await self._table(database, name)
        if found is None or found.get("Parameters", {}).get(OWNER) != stream_id:
            return
        try:
            await call(self._io, self._client.delete_table, DatabaseName=database, Name=name)
        except PikError as error:
            if not is_code(error, _MISSING):
                raise

    async def _create(self, database: str, name: str, wanted: CatalogTable) -> TableChange:
        try:
            await call(self._io, self._client.get_database, Name=database)
        except PikError as error:
            if not is_code(error, _MISSING):
                raise
            await self._made(
                self._client.create_database,
                DatabaseInput={"Name": database, "Description": "Streams that pik captures."},
            )
        await self._made(
            self._client.create_table, DatabaseName=database, TableInput=_to_glue(name, wanted, {})
        )
        return TableChange(created=True)

    async def _made(self, method: Any, **parameters: Any) -> None:
        """What somebody else has made meanwhile is looked at the next time."""
        try:
            await call(self._io, method, **parameters)
        except PikError as error:
            if not is_code(error, _THERE):
                raise

    async def _table(self, database: str, name: str) -> dict[str, Any] | None:
        try:
            answer = await call(self._io, self._client.get_table, DatabaseName=database, Name=name)
        except PikError as error:
            if is_code(error, _MISSING):
                return None
            raise
        found: dict[str, Any] = answer["Table"]
        return found


def _of_glue(table: dict[str, Any]) -> CatalogTable:
    storage = table.get("StorageDescriptor", {})
    return CatalogTable(
        location=storage.get("Location", ""),
        columns=_typed(storage.get("Columns", [])),
        partitions=_typed(table.get("PartitionKeys", [])),
        parameters=table.get("Parameters", {}),
        input_format=storage.get("InputFormat", ""),
        output_format=storage.get("OutputFormat", ""),
        serde=storage.get("SerdeInfo", {}).get("SerializationLibrary", ""),
    )


def _typed(columns: list[dict[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((column["Name"], column.get("Type", "")) for column in columns)


def _to_glue(name: str, table: CatalogTable, others: dict[str, str]) -> dict[str, Any]:
    """`others`: parameters that somebody else has set."""
    return {
        "Name": name,
        "Description": f"Segments of the stream {table.parameters[OWNER]}; kept by pik.",
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {**others, **table.parameters},
        "PartitionKeys": [{"Name": column, "Type": type_} for column, type_ in table.partitions],
        "StorageDescriptor": {
            "Columns": [{"Name": column, "Type": type_} for column, type_ in table.columns],
            "Location": table.location,
            "InputFormat": table.input_format,
            "OutputFormat": table.output_format,
            "SerdeInfo": {"SerializationLibrary": table.serde},
        },
    }
