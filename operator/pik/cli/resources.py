"""Objects as kubectl names and shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from pik.api.common import PrinterColumn
from pik.api.kinds import KINDS, AnyResource
from pik.cli.output import Table
from pik.cli.shelf import Item
from pik.domain.instants import Instant, parse_instant
from pik.execution.inspect.report import Column, Kind

_STEP = re.compile(r"\.([A-Za-z]+)|\[\?\(@\.([A-Za-z]+)==\"([^\"]*)\"\)\]")


class KindType(click.ParamType[type[AnyResource]]):
    """A kind by its name, plural or short name, in any case."""

    name = "kind"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> type[AnyResource]:
        if isinstance(value, type):
            return value
        for model in KINDS.values():
            if value.lower() in (model.KIND.lower(), model.PLURAL, model.SHORT_NAME):
                return model
        return self._unknown(value, param, ctx)

    def _unknown(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        known = ", ".join(f"{model.PLURAL} ({model.SHORT_NAME})" for model in KINDS.values())
        self.fail(f"{value!r} is none of {known}", param, ctx)


KIND = KindType()


def table_of(model: type[AnyResource], items: Sequence[Item], now: Instant, *, wide: bool) -> Table:
    """The columns that kubectl would print."""
    printed = [column for column in model.COLUMNS if wide or not column.wide]
    columns = [
        Column("namespace", "Namespace", Kind.TEXT),
        Column("name", "Name", Kind.TEXT),
        *(Column(column.name.lower().replace(" ", "_"), column.name, _kind(column)) for column in printed),
    ]
    rows = [
        [item.key.namespace, item.key.name, *(_cell(item.manifest, column, now) for column in printed)]
        for item in items
    ]
    return Table(model.PLURAL, tuple(columns), rows)


def at_path(value: Any, path: str) -> Any:
    """What a column's JSON path names; None where it is not there."""
    for name, field, wanted in _STEP.findall(path):
        if name:
            value = value.get(name) if isinstance(value, dict) else None
        else:
            items = value if isinstance(value, list | tuple) else ()
            value = next((item for item in items if item.get(field) == wanted), None)
    return value


def age(then: Instant, now: Instant) -> str:
    """As kubectl shows it: `12s`, `5m`, `3h`, `2d`."""
    seconds = max(0, now.micros - then.micros) // 1_000_000
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _cell(manifest: dict[str, Any], column: PrinterColumn, now: Instant) -> Any:
    value = at_path(manifest, column.jsonPath)
    if value is None or column.type != "date":
        return value
    return age(parse_instant(value), now)


def _kind(column: PrinterColumn) -> Kind:
    return Kind.COUNT if column.type == "integer" else Kind.TEXT
