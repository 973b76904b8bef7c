"""A stream's segments as a table of the Glue catalog, which Athena reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from pik.domain.layout import Layout

DATABASE = "pik"
"""The database of all streams' tables."""

OWNER = "pik.stream"
"""A parameter of a table that pik made: the stream's id."""

_SINCE = "2020-01-01"  # no segment is older than pik
_FORMAT = "org.apache.hadoop.hive.ql.io.parquet"
_HOURS = ",".join(f"{hour:02d}" for hour in range(24))


@dataclass(frozen=True)
class Table:
    """A stream's table in a query. Its instants are declared as BIGINT, and so read as what Parquet has of
    them: microseconds. `emulated`: DuckDB reads them, as its own TIMESTAMPTZ."""

    database: str
    name: str
    emulated: bool = False

    def micros(self, column: str) -> str:
        return f"epoch_us({column})" if self.emulated else column

    @property
    def path(self) -> str:
        """Of the file that a row comes from."""
        return "filename" if self.emulated else '"$path"'

    @property
    def reference(self) -> str:
        return f'"{self.database}"."{self.name}"'


class CatalogTable(msgspec.Struct, frozen=True):
    """What the catalog says of a table. `columns` and `partitions`: names and types, in order; `parameters`:
    those that pik sets."""

    location: str
    columns: tuple[tuple[str, str], ...]
    partitions: tuple[tuple[str, str], ...]
    parameters: dict[str, str]
    input_format: str = f"{_FORMAT}.MapredParquetInputFormat"
    output_format: str = f"{_FORMAT}.MapredParquetOutputFormat"
    serde: str = f"{_FORMAT}.serde.ParquetHiveSerDe"


def table_name(stream_id: str) -> str:
    return f"stream_{stream_id}"


def wanted_table(bucket: str, layout: Layout) -> CatalogTable:
    """The table of a stream. Its partitions are computed from what a query names and never registered, so
    that a new hour is there at once."""
    location = f"s3://{bucket}/{layout.raw}"
    return CatalogTable(
        location=location,
        columns=_COLUMNS,
        partitions=(("ingest_date", "string"), ("hour", "string")),
        parameters={
            "EXTERNAL": "TRUE",
            "classification": "parquet",
            OWNER: layout.stream_id,
            "projection.enabled": "true",
            "projection.ingest_date.type": "date",
            "projection.ingest_date.format": "yyyy-MM-dd",
            "projection.ingest_date.range": f"{_SINCE},NOW+1DAYS",
            "projection.ingest_date.interval": "1",
            "projection.ingest_date.interval.unit": "DAYS",
            "projection.hour.type": "enum",
            "projection.hour.values": _HOURS,
            "storage.location.template": f"{location}ingest_date=${{ingest_date}}/hour=${{hour}}/",
        },
    )


def drifted(wanted: CatalogTable, observed: CatalogTable) -> tuple[str, ...]:
    """The fields that are not as wanted. Parameters that pik does not set are others' own."""
    fields = [
        name
        for name in ("location", "columns", "partitions", "input_format", "output_format", "serde")
        if getattr(wanted, name) != getattr(observed, name)
    ]
    return (*fields, *_differing(wanted.parameters, observed.parameters))


def _differing(wanted: Mapping[str, str], observed: Mapping[str, str]) -> list[str]:
    return [f"parameters.{name}" for name, value in wanted.items() if observed.get(name) != value]


_TIMES = ("event_time", "received_time", "ingest_time")
_NAMES = (
    "event_id", "source", "event_type", "entity_id", "event_time", "event_time_rest", "event_time_text",
    "received_time", "received_time_rest", "ingest_time", "idempotency_key", "payload_sha256", "fingerprint",
    "outcome", "winner", "replay_of", "attributes", "data",
)  # fmt: skip
_COLUMNS = (("row", "int"), *((name, "bigint" if name in _TIMES else "string") for name in _NAMES))
