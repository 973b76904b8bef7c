"""`pik get`"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import click
import msgspec
import yaml

from pik.api.common import CATEGORY
from pik.api.kinds import KINDS, AnyResource
from pik.aws.system import SystemClock
from pik.cli.desk import at_a_shelf
from pik.cli.output import print_table, show_csv, show_json
from pik.cli.resources import KIND, table_of
from pik.cli.shelf import Item, Shelf, find


class Form(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


def _kind_or_all(ctx: click.Context, param: click.Parameter, value: str | None) -> type[AnyResource] | None:
    """None: of every kind."""
    return None if value in (None, CATEGORY) else KIND.convert(value, param, ctx)


@click.command("get")
@click.argument("kind", required=False, callback=_kind_or_all)
@click.argument("name", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Choice(Form, case_sensitive=False),
    default=Form.TABLE,
    show_default="table",
    help="table, wide (more columns), csv; json or yaml: the whole objects.",
)
@at_a_shelf
async def command(shelf: Shelf, kind: type[AnyResource] | None, name: str | None, output: Form) -> None:
    """Show objects and their status: those of a KIND, one of them by its NAME (or namespace/name), or all:
    KIND `pik`, or none.
    """
    if kind is None and name is not None:
        raise click.UsageError("a NAME is of a KIND: name both")
    if name is not None and kind is not None:
        items = [await find(shelf, kind, name)]
    else:
        items = [item for model in ([kind] if kind else KINDS.values()) for item in await shelf.items(model)]
    manifests = [item.manifest for item in items]
    whole = manifests[0] if name is not None else {"apiVersion": "v1", "kind": "List", "items": manifests}
    match output:
        case Form.JSON:
            show_json(whole)
        case Form.YAML:
            click.echo(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True), nl=False)
        case _:
            now = SystemClock().now()
            models = [kind] if kind else [model for model in KINDS.values() if _of(model, items)]
            tables = [table_of(model, _of(model, items), now, wide=output is Form.WIDE) for model in models]
            if output is Form.CSV:
                if len(models) > 1:
                    raise click.UsageError("csv has one table: name a KIND")
                for table in tables:
                    show_csv(table)
                return
            if not any(table.rows for table in tables):
                click.echo(f"no objects in {shelf.place}")
                return
            for table in tables:
                title = table.title if len(tables) > 1 else ""
                print_table(
                    msgspec.structs.replace(table, title=title), wide=output is Form.WIDE, gather=False
                )


def _of(model: type[AnyResource], items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.key.kind == model.KIND]
