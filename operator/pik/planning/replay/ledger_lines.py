"""The lines of an outcome, made a column at a time; planning.replay.records reads them as `LedgerEntry`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson
import pyarrow as pa

from pik.planning.envelope import delivery_keys
from pik.planning.json_columns import joined, lines, quoted
from pik.planning.replay.events import has_repeats
from pik.planning.replay.records import Result


class Fate(NamedTuple):
    """What became of an event, as its line says it (planning.replay.records.LedgerEntry)."""

    result: Result
    answer: str = ""
    reason: str = ""
    attempts: int = 1
    dead_lettered: bool = False


def ledger_lines(
    positions: pa.Int64Array, events: pa.RecordBatch, fates: Sequence[Fate], run_id: str
) -> memoryview:
    """One line an event, with a line break at its end. `events`: columns of planning.replay.events. A member
    that has its default is left out, and so is a key that follows from the event's id and the run's."""
    alike = fates.count(fates[0]) == len(fates)
    column = joined(
        '{"position":',
        positions.cast(pa.string()),
        ',"event_id":"',
        events.column("event_id"),
        '","entity_id":',
        *quoted(events.column("entity_id")),
        *((',"key":"', *delivery_keys(events, run_id), '"') if has_repeats(events) else ()),
        _members(fates[0]) if alike else pa.array(map(_members, fates), pa.string()),
        "}\n",
    )
    return lines(column)


def _members(fate: Fate) -> str:
    """JSON members that follow others."""
    further = (
        f',"{name}":{orjson.dumps(value).decode()}'
        for name, value, default in zip(
            Fate._fields[1:], fate[1:], Fate._field_defaults.values(), strict=True
        )
        if value != default
    )
    return f',"result":"{fate.result}"{"".join(further)}'
