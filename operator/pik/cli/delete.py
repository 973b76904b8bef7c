"""`pik delete`"""

from __future__ import annotations

from pathlib import Path

import click

from pik.api.kinds import AnyResource
from pik.cli.desk import dir_option
from pik.cli.handover import delete, record_of
from pik.cli.resources import KIND
from pik.local.state import State


@click.command("delete")
@click.argument("kind", type=KIND)
@click.argument("name")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait until it is gone.",
)
@dir_option
def command(kind: type[AnyResource], name: str, timeout: float, directory: Path) -> None:
    """Delete an object that was applied. Its bucket, table, runs and versions stay, unless deletionPolicy is
    Delete."""
    state = State(directory)
    record = record_of(state, kind, name)
    if delete(state, record, timeout):
        click.echo(f"{record.key} deleted")
    else:
        click.echo(f"{record.key} is deleted by the next `pik up`")
