"""`pik get`"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import click
import msgspec
import yaml

from pik.api.common import CATEGORY
from pik.api.kinds import KINDS, AnyResource
from pik.aws.system import SystemClock
from pik.cli.desk import dir_option
from pik.cli.output import print_table, show_csv, show_json
from pik.cli.resources import KIND, one_of, table_of
from pik.local.state import Record, State


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
@dir_option
def command(kind: type[AnyResource] | None, name: str | None, output: Form, directory: Path) -> None:
    """Show objects and their status: those of a KIND, one of them by its NAME (or namespace/name), or all:
    KIND `pik`, or none.
    """
    if kind is None and name is not None:
        raise click.UsageError("a NAME is of a KIND: name both")
    state = State(directory)
    state.check()
    records = [record for record in state.records() if kind is None or record.key.kind == kind.KIND]
    if name is not None and kind is not None:
        records = [one_of(records, kind, name)]
    manifests = [record.manifest for record in records]
    whole = manifests[0] if name is not None else {"apiVersion": "v1", "kind": "List", "items": manifests}
    match output:
        case Form.JSON:
            show_json(whole)
        case Form.YAML:
            click.echo(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True), nl=False)
        case _:
            now = SystemClock().now()
            models = [kind] if kind else [model for model in KINDS.values() if _of(model, records)]
            tables = [table_of(model, _of(model, records), now, wide=output is Form.WIDE) for model in models]
            if output is Form.CSV:
                if len(models) > 1:
                    raise click.UsageError("csv has one table: name a KIND")
                for table in tables:
                    show_csv(table)
                return
            if not any(table.rows for table in tables):
                click.echo("no objects")
                return
            for table in tables:
                title = table.title if len(tables) > 1 else ""
                print_table(
                    msgspec.structs.replace(table, title=title), wide=output is Form.WIDE, gather=False
                )


def _of(model: type[AnyResource], records: list[Record]) -> list[Record]:
    return [record for record in records if record.key.kind == model.KIND]
