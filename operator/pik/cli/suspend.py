"""`pik suspend` and `pik resume`"""

from __future__ import annotations

import click

from pik.api.kinds import AnyResource
from pik.cli.desk import at_a_shelf
from pik.cli.resources import KIND
from pik.cli.shelf import Shelf, find


@click.command("suspend")
@click.argument("kind", type=KIND)
@click.argument("name")
@at_a_shelf
async def command(shelf: Shelf, kind: type[AnyResource], name: str) -> None:
    """Hold an object: a stream takes no events, a run stops at its next checkpoint, nothing is computed.

    Until `pik resume`: whatever its manifest says in a folder, and in a cluster where its manifest does not
    say `suspend` itself.
    """
    item = await find(shelf, kind, name)
    await shelf.suspend(item)
    _tell(shelf, f"{item.key} suspended")


@click.command("resume")
@click.argument("kind", type=KIND)
@click.argument("name")
@at_a_shelf
async def resume(shelf: Shelf, kind: type[AnyResource], name: str) -> None:
    """Let an object go on that was held by `pik suspend`: in a folder whatever its manifest says."""
    item = await find(shelf, kind, name)
    await shelf.resume(item)
    _tell(shelf, f"{item.key} resumed")


def _tell(shelf: Shelf, done: str) -> None:
    click.echo(done)
    if hint := shelf.idle():
        click.echo(hint, err=True)
