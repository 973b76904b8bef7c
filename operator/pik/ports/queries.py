"""A service that runs SQL over a stream's segments where they lie."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec


class QueryState(StrEnum):
    WAITING = "Waiting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def is_final(self) -> bool:
        return self not in (QueryState.WAITING, QueryState.RUNNING)


class QueryStatus(msgspec.Struct, frozen=True):
    """How a query stands. `reason`: the service's words for why it failed. `may_succeed`: whether the same
    query may do so later."""

    state: QueryState
    reason: str = ""
    may_succeed: bool = False
    bytes_scanned: int = 0


class QueryService(Protocol):
    """Queries by their ids, which the service gives. Calls raise what AWS calls do."""

    @property
    def emulated(self) -> bool:
        """Whether DuckDB reads the segments here, in place of Trino."""
        ...

    @property
    def place(self) -> str:
        """Where it runs and where its results go: what a query is asked with besides its text."""
        ...

    async def start(self, sql: str, token: str) -> str:
        """The id of a query that is under way then. The same `token` (32 to 128 characters) with the same
        text may give the same query again, and need not."""
        ...

    async def status(self, query_id: str) -> QueryStatus:
        """Raises `NoSuchObject` for a query that the service has forgotten."""
        ...

    async def stop(self, query_id: str) -> None:
        """A query that has ended stays as it is."""
        ...

    async def fetch(self, query_id: str, file: Path) -> None:
        """Writes all rows of a query that has succeeded into a CSV file: names first, NULL as nothing at all.
        Raises `NoSuchObject` where they are kept no longer."""
        ...
