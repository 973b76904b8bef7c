"""Where a version is computed by Athena."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pik.planning.trino.tables import DATABASE, Table, table_name
from pik.ports.queries import QueryService


@dataclass(frozen=True, slots=True)
class Athena:
    """Where the queries run. `halted`: whether nobody wants the answer any more, once the work is
    cancelled."""

    service: QueryService
    halted: Callable[[], bool] = lambda: False

    def table(self, stream_id: str) -> Table:
        return Table(DATABASE, table_name(stream_id), self.service.emulated)
