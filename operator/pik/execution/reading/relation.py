"""A snapshot's segments as relations in DuckDB: `arrivals`, and `events` by the first-arrival rule.

DuckDB is locked down before any condition of a user meets it, by what its manual names for untrusted SQL
(duckdb.org/docs/stable/operations_manual/securing_duckdb): no file but the segments, no network, no
extension, no Python variable, no change of the configuration. A statement could still overwrite one of the
segments' local copies, so users' SQL is expressions that were checked, never statements.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa

from pik.execution.parquet import HEADERS, SCHEMA
from pik.execution.stream import Deduplication
from pik.planning.memory import duckdb_limit, memory_bytes

_SQL_TYPES = {
    pa.int32(): "INTEGER",
    pa.string(): "VARCHAR",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}
_COLUMNS = ", ".join(SCHEMA.names)
_SEGMENT = "CASE WHEN row >= 0 THEN parse_filename(filename, true) END"
"""Every row has such a number. Of a name alone DuckDB would leave files out beforehand, and count the others
anew as `file_index`."""


def connect(memory: str | None = None, spill: Path | None = None) -> duckdb.DuckDBPyConnection:
    """DuckDB in this process, in UTC, that loads no extension.

    `memory`: what the process may take, such as `1GiB`; None: 80% of the machine's, and more. `spill`: a
    folder of this connection's own for what does not fit, made when needed and removed on close; default: a
    fresh one in the system's folder for temporary files.
    """
    spill = spill or Path(tempfile.gettempdir()) / f"pik-{uuid4().hex}"
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET autoload_known_extensions = false")
    con.execute("SET allow_community_extensions = false")
    con.execute("SET python_enable_replacements = false")
    con.execute("SET parquet_metadata_cache = true")
    con.execute("SET preserve_insertion_order = false")  # every order that matters is asked for
    con.execute("SET temp_directory = ?", [str(spill)])
    if memory is not None:
        con.execute("SET memory_limit = ?", [f"{duckdb_limit(memory_bytes(memory))}B"])
    return con


def open_arrivals(
    con: duckdb.DuckDBPyConnection, files: Sequence[Path], *, headers: bool = False
) -> list[str]:
    """Makes the view `arrivals` over segment files named `<segment>.parquet`, and locks the connection down
    to them. Returns the segments in their order: those of the arrivals from n · 2³² on are of the n-th.

    Columns: the segment's, `segment` (str(SegmentID)) and `arrival`, a BIGINT that is unique and orders the
    arrivals of the files by (ingest time, segment, row). TIMESTAMPTZ columns are in UTC; take them into
    Python as `epoch_us(column)`. With `headers` also that column, null where a segment has it not.
    """
    paths = [str(file.absolute()) for file in files]
    lock_to(con, paths)
    ordered = _in_order(con, paths)
    nowhere = ", NULL::VARCHAR AS headers" if headers else ""
    if not ordered:
        nothing = ", ".join(f"NULL::{_SQL_TYPES[field.type]} AS {field.name}" for field in SCHEMA)
        con.execute(
            f"CREATE VIEW arrivals AS SELECT {nothing}{nowhere}, NULL::VARCHAR AS segment,"
            " NULL::BIGINT AS arrival WHERE false"
        )
        return []
    somewhere = headers and _any_has(con, ordered, HEADERS.name)
    further = ", headers" if somewhere else nowhere
    con.execute(
        f"""
        CREATE VIEW arrivals AS
        SELECT {_COLUMNS}{further}, {_SEGMENT} AS segment, file_index::BIGINT * 4294967296 + row AS arrival
        FROM {scan(ordered, by_name=somewhere)}
        """  # noqa: S608 - the paths are quoted
    )
    return [Path(path).stem for path in ordered]


def lock_to(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """No file but these, absolute ones, from here on."""
    con.execute("SET allowed_paths = ?", [list(paths)])
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


def _in_order(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> list[str]:
    """Those of the files that have rows, by (ingest time, segment)."""
    if not paths:
        return []
    name = "parse_filename(filename, true)"
    sql = f"SELECT filename FROM {scan(paths)} GROUP BY filename ORDER BY min(ingest_time), {name}"  # noqa: S608
    found = con.execute(sql)
    return [path for (path,) in found.fetchall()]


def _any_has(con: duckdb.DuckDBPyConnection, paths: Sequence[str], column: str) -> bool:
    listed = ", ".join(map(_literal, paths))
    sql = f"SELECT count(*) FROM parquet_schema([{listed}]) WHERE name = ?"  # noqa: S608 - the paths are quoted
    [(found,)] = con.execute(sql, [column]).fetchall()
    return bool(found)


def scan(paths: Sequence[str], *, by_name: bool = False) -> str:
    """DuckDB counts the files as `file_index`, from 0 on, as they are listed here. `by_name`: some of them
    lack columns that others have; else it takes the first one's word for all."""
    union = ", union_by_name = true" if by_name else ""
    return f"read_parquet([{', '.join(map(_literal, paths))}], filename = true{union})"


def open_events(con: duckdb.DuckDBPyConnection, deduplication: Deduplication) -> None:
    """Makes the view `events`: the arrivals that are the stream's events.

    OnWrite: the ACCEPTED rows. OnRead: of each event id the first RECORDED or REPLAYED arrival among all of
    `arrivals`, decided once, over ids and places alone; a condition on the view is applied afterwards (a
    conflicting arrival may carry another event time, so a window must not come before). All others are in
    the table `later_arrivals`: `arrival`, and `same` where the fingerprint is the event's.
    """
    if deduplication is Deduplication.ON_WRITE:
        con.execute("CREATE VIEW events AS SELECT * FROM arrivals WHERE outcome = 'ACCEPTED'")
        return
    may_be = "outcome IN ('RECORDED', 'REPLAYED')"
    # few ids come twice, and a number of 8 bytes finds out which may: all that is kept is of those
    con.execute(
        f"""
        CREATE TABLE repeated AS
        SELECT hash(event_id) AS id FROM arrivals WHERE {may_be} GROUP BY id HAVING count(*) > 1
        """  # noqa: S608 - constants
    )
    con.execute(
        f"""
        CREATE TABLE later_arrivals AS
        SELECT arrival, same FROM (
            SELECT arrival, row_number() OVER seen AS turn, fingerprint = first(fingerprint) OVER seen AS same
            FROM arrivals WHERE {may_be} AND hash(event_id) IN (SELECT id FROM repeated)
            WINDOW seen AS (PARTITION BY event_id ORDER BY arrival)
        ) WHERE turn > 1
        """  # noqa: S608 - constants
    )
    con.execute("DROP TABLE repeated")
    con.execute(
        f"""
        CREATE VIEW events AS
        SELECT arrivals.* FROM arrivals ANTI JOIN later_arrivals USING (arrival) WHERE {may_be}
        """  # noqa: S608 - constants
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
