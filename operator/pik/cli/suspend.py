"""`pik suspend` and `pik resume`"""

from __future__ import annotations

from pathlib import Path

import click

from pik.api.kinds import AnyResource
from pik.cli.desk import dir_option
from pik.cli.handover import patch, record_of
from pik.cli.resources import KIND
from pik.local.state import State


@click.command("suspend")
@click.argument("kind", type=KIND)
@click.argument("name")
@dir_option
def command(kind: type[AnyResource], name: str, directory: Path) -> None:
    """Hold an object: a stream takes no events, a run stops at its next checkpoint, nothing is computed.

    Whatever its manifest says, until `pik resume`.
    """
    _set(directory, kind, name, held=True)


@click.command("resume")
@click.argument("kind", type=KIND)
@click.argument("name")
@dir_option
def resume(kind: type[AnyResource], name: str, directory: Path) -> None:
    """Let an object go on that was held, whatever its manifest says."""
    _set(directory, kind, name, held=False)


def _set(directory: Path, kind: type[AnyResource], name: str, *, held: bool) -> None:
    state = State(directory)
    record = record_of(state, kind, name)
    patch(state, record, {"spec": {"suspend": held}})
    click.echo(f"{record.key} {'suspended' if held else 'resumed'}")
    if state.running() is None:
        click.echo(f"no `pik up` works on {directory} now: the next one takes it up", err=True)
